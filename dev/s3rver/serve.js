// s3rver with keys of its own: serve.js DIR PORT. Keys come by the environment. Ended by its process id.
'use strict';
const fs = require('fs');
const path = require('path');
const crypto = require('crypto');
const { createRequire } = require('module');

const load = createRequire(path.join(process.env.S3RVER_HOME, 'package.json'));
const S3rver = load('s3rver');
const account = load('s3rver/lib/models/account.js').DUMMY_ACCOUNT;

account.revokeAccessKey('S3RVER');
account.createKeyPair(process.env.S3_ACCESS_KEY, process.env.S3_SECRET_KEY);

const [directory, port] = process.argv.slice(2);
const server = new S3rver({ directory, port: Number(port), address: '127.0.0.1', silent: true, vhostBuckets: false });
const store = server.store;

// What is wanted of it is that it ignores conditions. Its file store also shows objects half written, answers before the
// last bytes are in the file, and removes folders under a writer's hands: these two steps are made whole.
store.putObject = async object => {
  const parts = [];
  if (Buffer.isBuffer(object.content)) parts.push(object.content);
  else for await (const part of object.content) parts.push(part);
  const content = Buffer.concat(parts);
  const declared = object.metadata['content-length'];
  if (declared !== undefined && object.metadata['content-encoding'] === undefined && Number(declared) !== content.length) {
    throw new Error(`${content.length} of ${declared} bytes`);
  }
  const md5 = crypto.createHash('md5').update(content).digest('hex');
  const target = store.getResourcePath(object.bucket, object.key, 'object');
  fs.mkdirSync(path.dirname(target), { recursive: true });
  fs.writeFileSync(`${target}.new`, content);
  fs.writeFileSync(`${target}.md5`, md5);
  fs.renameSync(`${target}.new`, target);
  return { size: content.length, md5 };
};
store.deleteObject = async (bucket, key) => {
  for (const resource of ['object', 'object.md5', 'metadata.json']) {
    fs.rmSync(store.getResourcePath(bucket, key, resource), { force: true });
  }
};
// A range of an empty object is refused, as S3 does, and not answered by nothing that calls itself a byte.
const getObject = store.getObject.bind(store);
store.getObject = async (bucket, key, options) => {
  const object = await getObject(bucket, key, options);
  if (object && object.range && Number(object.size) === 0) {
    if (object.content) object.content.destroy();
    object.content = null;
  }
  return object;
};

server.run().then(() => {
  // A connection is closed by the client: what is sent on one that this side closes just then gets no answer.
  server.httpServer.keepAliveTimeout = 0;
});
