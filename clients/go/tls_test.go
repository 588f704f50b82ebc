package featsvc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"featsvc"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

// certificate writes a self-signed certificate of 127.0.0.1 and its key, and gives the files.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	signed, err := x509.CreateCertificate(rand.Reader, about, about, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return written(t, "CERTIFICATE", signed), written(t, "PRIVATE KEY", secret)
}

func written(t *testing.T, kind string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAServerThatAsksForACertificateIsReachedWithOneOnly(t *testing.T) {
	cert, key := certificate(t)
	own, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	content, err := os.ReadFile(cert)
	if err != nil || !trusted.AppendCertsFromPEM(content) {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{own}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: trusted}
	address := serving(t, &scripted{extract: func(context.Context, *request) (*response, error) {
		return floats(7), nil
	}}, grpc.Creds(credentials.NewTLS(config)))
	for _, each := range []struct {
		options *featsvc.TLS
		code    codes.Code
	}{
		{&featsvc.TLS{CA: cert, Cert: cert, Key: key}, codes.OK},
		{&featsvc.TLS{CA: cert}, codes.Unavailable},
		{&featsvc.TLS{}, codes.Unavailable},
		{nil, codes.Unavailable},
	} {
		client, err := featsvc.Connect(address, featsvc.Options{TLS: each.options, Retry: &featsvc.RetryPolicy{Attempts: 1}})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if _, err := client.Dino.ExtractFeatures(t.Context(), &request{}); status.Code(err) != each.code {
			t.Errorf("%+v: %v", each.options, err)
		}
	}
}

func TestAFileThatIsNoCertificateIsAnErrorAtOnce(t *testing.T) {
	for _, bad := range []*featsvc.TLS{{CA: written(t, "NOTHING", nil)}, {CA: "no such file"}, {Cert: "no such file"}} {
		if _, err := featsvc.Connect("127.0.0.1:1", featsvc.Options{TLS: bad}); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}
