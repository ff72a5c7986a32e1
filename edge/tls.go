package edge

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	// certCheck is how often the files of a certificate are looked at. Whoever
	// renews it writes two files; a pair that does not fit is tried again.
	certCheck = 10 * time.Second
	// selfSignedLife is how long a certificate of SelfSigned is valid, and
	// selfSignedSpare how long before its end it is replaced.
	selfSignedLife  = 365 * 24 * time.Hour
	selfSignedSpare = 30 * 24 * time.Hour
)

// CertificateFiles returns a TLS configuration with the certificate chain and
// key in two PEM files, which are read again when they change. A change that
// cannot be read is logged, and the pair before it stays.
func CertificateFiles(certFile, keyFile string, log *slog.Logger) (*tls.Config, error) {
	f := &certFiles{cert: certFile, key: keyFile, log: log, now: time.Now}
	if err := f.load(); err != nil {
		return nil, fmt.Errorf("certificate %q: %w", certFile, err)
	}
	f.checked = f.now()
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: f.get}, nil
}

// certFiles is a certificate and the files it was read from.
type certFiles struct {
	cert, key string
	log       *slog.Logger
	now       func() time.Time

	mu      sync.Mutex
	checked time.Time
	pair    *tls.Certificate
	pem     [2][]byte // what pair was made from
}

// get implements tls.Config.GetCertificate.
func (f *certFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := f.now(); now.Sub(f.checked) >= certCheck {
		f.checked = now
		if err := f.load(); err != nil {
			f.log.Error("certificate not renewed", "file", f.cert, "err", err)
		}
	}
	return f.pair, nil
}

// load reads both files, and makes a pair of them if they have changed.
func (f *certFiles) load() error {
	cert, err := os.ReadFile(f.cert)
	if err != nil {
		return err
	}
	key, err := os.ReadFile(f.key)
	if err != nil {
		return err
	}
	if bytes.Equal(cert, f.pem[0]) && bytes.Equal(key, f.pem[1]) {
		return nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return err
	}
	f.pair, f.pem = &pair, [2][]byte{cert, key}
	return nil
}

// SelfSigned returns the names of a certificate file and a key file in dir,
// valid for localhost. It makes them if there are none that are still good. They
// are for trying things out: a client has to be told to trust the certificate.
func SelfSigned(dir string) (certFile, keyFile string, err error) {
	certFile, keyFile = filepath.Join(dir, "localhost.crt"), filepath.Join(dir, "localhost.key")
	good, err := stillGood(certFile, keyFile, time.Now())
	if err != nil || good {
		return certFile, keyFile, err
	}
	cert, key, err := newSelfSigned(time.Now())
	if err != nil {
		return "", "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", "", err
	}
	if err := os.WriteFile(keyFile, key, 0o600); err != nil {
		return "", "", err
	}
	return certFile, keyFile, os.WriteFile(certFile, cert, 0o644)
}

// stillGood reports whether the two files hold a pair with time left. It is an
// error if they are there and cannot be read.
func stillGood(certFile, keyFile string, now time.Time) (bool, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("certificate %q: %w", certFile, err)
	}
	return now.Add(selfSignedSpare).Before(pair.Leaf.NotAfter), nil
}

// newSelfSigned makes a certificate and its key, both PEM.
func newSelfSigned(now time.Time) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "ucedge on localhost"},
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(selfSignedLife),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}
