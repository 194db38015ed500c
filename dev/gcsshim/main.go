// gcsshim lets a client of the XML API of Google Cloud Storage talk to an S3 server: a translator, not an emulator.
//
//	gcsshim LISTEN S3_URL ACCOUNT_FILE
//
// The keys of the S3 server and the access token come by the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
// AWS_REGION, GCS_TOKEN). It makes an RSA key, writes the file of a service account that has it, and lets in who brings
// the token or a JWT that the account has signed. Under /computeMetadata/ it is the metadata server that gives the token.
//
// What it cannot show: conditions, consistency, ranges and listings are the S3 server's own. A generation is the ETag, so
// equal contents have equal generations. Google's limits (one write a second to a name), errors other than 401, 404 and
// 412, soft delete, retention and the exchange of tokens do not exist here.
package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"time"
)

const email = "orlop-test@gcsshim.invalid"

func main() {
	log.SetFlags(0)
	if len(os.Args) != 4 {
		log.Fatal("usage: gcsshim LISTEN S3_URL ACCOUNT_FILE")
	}
	listen, s3, accountFile := os.Args[1], os.Args[2], os.Args[3]
	base, err := url.Parse(s3)
	if err != nil {
		log.Fatal(err)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		log.Fatal(err)
	}
	if err := writeAccount(accountFile, key); err != nil {
		log.Fatal(err)
	}
	keys := s3Keys{os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), os.Getenv("AWS_REGION")}
	token := os.Getenv("GCS_TOKEN")
	if token == "" || keys.id == "" || keys.secret == "" {
		log.Fatal("GCS_TOKEN, AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY is missing")
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	proxy := translator(base, keys, transport)
	mux := http.NewServeMux()
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("/computeMetadata/", func(w http.ResponseWriter, r *http.Request) { metadata(w, r, token) })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		bearer, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if err := admit(bearer, token, &key.PublicKey, time.Now()); err != nil {
			refuse(w, http.StatusUnauthorized, "AuthenticationRequired", err.Error())
			return
		}
		// S3 says 204 for what is not there; Google says 404
		if r.Method == http.MethodDelete && headStatus(r.Context(), base, r.URL.Path, keys, transport) == http.StatusNotFound {
			refuse(w, http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
			return
		}
		proxy.ServeHTTP(w, r)
	})
	server := &http.Server{Addr: listen, Handler: mux, ReadHeaderTimeout: time.Minute}
	log.Fatal(server.ListenAndServe())
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml; charset=UTF-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte("<?xml version='1.0' encoding='UTF-8'?><Error><Code>" + code + "</Code><Message>" + message + "</Message></Error>"))
}

// writeAccount writes the key file of a service account, as Google's console gives it out.
func writeAccount(path string, key *rsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	account, err := json.Marshal(map[string]string{
		"type":           "service_account",
		"project_id":     "orlop-test",
		"private_key_id": "gcsshim",
		"private_key":    string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"client_email":   email,
		"client_id":      "1",
		"token_uri":      "https://oauth2.googleapis.com/token",
	})
	if err != nil {
		return err
	}
	return os.WriteFile(path, account, 0o600)
}

// admit lets in the token and a JWT that the account has signed for storage (https://google.aip.dev/auth/4111).
func admit(bearer, token string, key *rsa.PublicKey, now time.Time) error {
	if bearer == token {
		return nil
	}
	parts := strings.Split(bearer, ".")
	if len(parts) != 3 {
		return errors.New("neither the token nor a JWT")
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return errors.New("the JWT's signature is not base64")
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature); err != nil {
		return errors.New("the JWT is not signed by the account")
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return errors.New("the JWT's claims are not base64")
	}
	var claims struct {
		Iss, Sub, Scope string
		Exp             int64
	}
	if err := json.Unmarshal(text, &claims); err != nil {
		return errors.New("the JWT's claims are not JSON")
	}
	scoped := strings.Contains(claims.Scope, "auth/cloud-platform") || strings.Contains(claims.Scope, "auth/devstorage")
	if claims.Iss != email || claims.Sub != email || !scoped || claims.Exp < now.Unix() {
		return errors.New("the JWT is for somebody or something else, or too old")
	}
	return nil
}

// metadata is what a pod with workload identity, or a machine, asks for its token.
func metadata(w http.ResponseWriter, r *http.Request, token string) {
	if r.Header.Get("Metadata-Flavor") != "Google" || !strings.HasSuffix(r.URL.Path, "/service-accounts/default/token") {
		refuse(w, http.StatusForbidden, "Forbidden", "Metadata-Flavor is missing, or another path")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token, "expires_in": 3600, "token_type": "Bearer"})
}

// translator sends a request on with the names and the signature of S3.
func translator(base *url.URL, keys s3Keys, transport http.RoundTripper) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(p *httputil.ProxyRequest) {
			out := p.Out
			out.URL.Scheme, out.URL.Host, out.Host, out.URL.RawPath = base.Scheme, base.Host, base.Host, ""
			out.Header.Del("Authorization")
			if generation := out.Header.Get("X-Goog-If-Generation-Match"); generation == "0" {
				out.Header.Set("If-None-Match", "*")
			} else if generation != "" {
				out.Header.Set("If-Match", `"`+generation+`"`)
			}
			for name := range out.Header {
				if strings.HasPrefix(name, "X-Goog-") {
					out.Header.Del(name)
				}
			}
			query := out.URL.Query()
			query.Del("generation")
			out.URL.RawQuery = query.Encode()
			sign(out, keys)
		},
		ModifyResponse: func(r *http.Response) error {
			if tag := strings.Trim(r.Header.Get("Etag"), `"`); tag != "" {
				r.Header.Set("X-Goog-Generation", tag)
			}
			return nil
		},
	}
}

func headStatus(ctx context.Context, base *url.URL, path string, keys s3Keys, transport http.RoundTripper) int {
	target := *base
	target.Path = path
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, target.String(), nil)
	if err != nil {
		return http.StatusInternalServerError
	}
	sign(request, keys)
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return http.StatusBadGateway
	}
	_ = answer.Body.Close()
	return answer.StatusCode
}
