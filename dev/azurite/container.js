// Makes a container: container.js ENDPOINT CONTAINER, signed with the account and key of the environment.
// Only Node's own modules. Prints nothing; ends with 1 where the server does not answer 201.
'use strict';
const crypto = require('crypto');
const http = require('http');

const [endpoint, container] = process.argv.slice(2);
const { AZURE_STORAGE_ACCOUNT_NAME: account, AZURE_STORAGE_ACCOUNT_KEY: key } = process.env;
const url = new URL(`${endpoint}/${container}?restype=container`);
const headers = { 'content-length': 0, 'x-ms-date': new Date().toUTCString(), 'x-ms-version': '2021-12-02' };
const signed = ['PUT', ...Array(11).fill(''), `x-ms-date:${headers['x-ms-date']}`, `x-ms-version:${headers['x-ms-version']}`,
  `/${account}${url.pathname}`, 'restype:container'].join('\n');
const signature = crypto.createHmac('sha256', Buffer.from(key, 'base64')).update(signed).digest('base64');
headers.authorization = `SharedKey ${account}:${signature}`;

const request = http.request(url, { method: 'PUT', headers, timeout: 5000 }, answer => {
  answer.resume();
  process.exitCode = answer.statusCode === 201 ? 0 : 1;
});
request.on('timeout', () => request.destroy(new Error('no answer')));
request.on('error', () => { process.exitCode = 1; });
request.end();
