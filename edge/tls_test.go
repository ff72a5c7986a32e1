package edge

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestSelfSignedIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	certFile, keyFile, err := SelfSigned(dir)
	if err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(certFile)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := SelfSigned(dir); err != nil {
		t.Fatal(err)
	}
	if again, _ := os.ReadFile(certFile); string(again) != string(first) {
		t.Error("a certificate that is still good was replaced")
	}
	if info, err := os.Stat(keyFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: mode %v, error %v, want 0600", info.Mode(), err)
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(pair.Leaf)
	for _, name := range []string{"localhost", "127.0.0.1", "::1"} {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("not valid for %q: %v", name, err)
		}
	}
	for after, want := range map[time.Duration]bool{0: true, selfSignedLife - selfSignedSpare - 2*time.Hour: true, selfSignedLife - selfSignedSpare + time.Hour: false} {
		if good, err := stillGood(certFile, keyFile, time.Now().Add(after)); err != nil || good != want {
			t.Errorf("after %v: good %v, error %v, want %v", after, good, err, want)
		}
	}
	if err := os.WriteFile(certFile, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := SelfSigned(dir); err == nil {
		t.Error("a damaged certificate file was not reported")
	}
}

func TestCertificateFilesAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	f := &certFiles{
		cert: filepath.Join(dir, "crt"), key: filepath.Join(dir, "key"),
		log: slog.New(slog.DiscardHandler),
	}
	now := time.Unix(1763827200, 0)
	f.now = func() time.Time { return now }
	write := func(cert, key []byte) {
		t.Helper()
		if os.WriteFile(f.cert, cert, 0o600) != nil || os.WriteFile(f.key, key, 0o600) != nil {
			t.Fatal("cannot write")
		}
	}
	got := func() string {
		pair, err := f.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf.SerialNumber.String()
	}
	certs, keys, serials := make([][]byte, 2), make([][]byte, 2), make([]string, 2)
	for i := range certs {
		var err error
		if certs[i], keys[i], err = newSelfSigned(time.Now()); err != nil {
			t.Fatal(err)
		}
		pair, err := tls.X509KeyPair(certs[i], keys[i])
		if err != nil {
			t.Fatal(err)
		}
		serials[i] = pair.Leaf.SerialNumber.String()
	}
	write(certs[0], keys[0])
	for _, row := range []struct {
		name      string
		cert, key []byte
		after     time.Duration
		want      string
	}{
		{"first", certs[0], keys[0], certCheck, serials[0]},
		{"not yet looked at", certs[1], keys[1], certCheck / 2, serials[0]},
		{"renewed", certs[1], keys[1], certCheck, serials[1]},
		{"half written", certs[0], keys[1], certCheck, serials[1]},
		{"damaged", []byte("x"), keys[0], certCheck, serials[1]},
		{"whole again", certs[0], keys[0], certCheck, serials[0]},
	} {
		write(row.cert, row.key)
		now = now.Add(row.after)
		if serial := got(); serial != row.want {
			t.Errorf("%s: got serial %s, want %s", row.name, serial, row.want)
		}
	}
	if _, err := CertificateFiles(f.cert, filepath.Join(dir, "none"), f.log); err == nil {
		t.Error("a key file that is not there was not reported")
	}
}
