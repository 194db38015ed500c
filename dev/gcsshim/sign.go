package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"sort"
	"strings"
	"time"
)

type s3Keys struct{ id, secret, region string }

// escape percent-encodes all but unreserved characters, and slashes where they are kept.
func escape(text string, keepSlash bool) string {
	const digits = "0123456789ABCDEF"
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		c := text[i]
		plain := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0
		if plain || keepSlash && c == '/' {
			out.WriteByte(c)
		} else {
			out.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return out.String()
}

func mac(key []byte, text string) []byte {
	hash := hmac.New(sha256.New, key)
	hash.Write([]byte(text))
	return hash.Sum(nil)
}

// sign puts the headers of AWS's signature, version 4, on a request whose URL.Path is decoded. The body is not signed.
func sign(r *http.Request, keys s3Keys) {
	r.URL.RawPath = escape(r.URL.Path, true)
	var query []string
	for name, values := range r.URL.Query() {
		for _, value := range values {
			query = append(query, escape(name, false)+"="+escape(value, false))
		}
	}
	sort.Strings(query)
	r.URL.RawQuery = strings.Join(query, "&")
	now := time.Now().UTC().Format("20060102T150405Z")
	r.Header.Set("X-Amz-Date", now)
	r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
	canonical := r.Method + "\n" + r.URL.RawPath + "\n" + r.URL.RawQuery + "\nhost:" + r.Host +
		"\nx-amz-content-sha256:UNSIGNED-PAYLOAD\nx-amz-date:" + now + "\n\nhost;x-amz-content-sha256;x-amz-date\nUNSIGNED-PAYLOAD"
	sum := sha256.Sum256([]byte(canonical))
	scope := now[:8] + "/" + keys.region + "/s3/aws4_request"
	key := mac(mac(mac(mac([]byte("AWS4"+keys.secret), now[:8]), keys.region), "s3"), "aws4_request")
	signature := hex.EncodeToString(mac(key, "AWS4-HMAC-SHA256\n"+now+"\n"+scope+"\n"+hex.EncodeToString(sum[:])))
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+keys.id+"/"+scope+
		",SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature="+signature)
}
