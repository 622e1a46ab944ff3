package driver

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/ktesting"

	"github.com/lvme/lvme/volume"
)

// controller is a controller service of one handler.
type controller struct {
	csi.UnimplementedControllerServer
	create func(context.Context, *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error)
}

func (c controller) CreateVolume(ctx context.Context, req *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	return c.create(ctx, req)
}

func (controller) GetCapacity(context.Context, *csi.GetCapacityRequest) (*csi.GetCapacityResponse, error) {
	return &csi.GetCapacityResponse{AvailableCapacity: 4711}, nil
}

// process is a served process as its callers see it.
type process struct {
	conn *grpc.ClientConn
	reg  *prometheus.Registry
	log  func() string
	stop context.CancelFunc
	done chan error
}

// start serves s on a socket of its own, logging with that verbosity.
func start(t *testing.T, s Services, verbosity int, grace time.Duration) *process {
	t.Helper()
	log := ktesting.NewLogger(t, ktesting.NewConfig(ktesting.BufferLogs(true), ktesting.Verbosity(verbosity)))
	withLog := func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		return next(klog.NewContext(ctx, log), req)
	}
	path := filepath.Join(t.TempDir(), "s", "csi.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{reg: prometheus.NewRegistry(), done: make(chan error, 1)}
	p.log = log.GetSink().(ktesting.Underlier).GetBuffer().String
	srv := NewServer(s, NewMetrics(p.reg), grpc.ChainUnaryInterceptor(withLog))
	var ctx context.Context
	ctx, p.stop = context.WithCancel(klog.NewContext(t.Context(), log))
	go func() { p.done <- Serve(ctx, srv, l, grace) }()
	p.conn, err = grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.stop(); _ = p.conn.Close(); srv.Stop() })
	return p
}

func (p *process) create(ctx context.Context) error {
	_, err := csi.NewControllerClient(p.conn).CreateVolume(ctx, &csi.CreateVolumeRequest{
		Name: "v1", Secrets: map[string]string{"password": "hunter2"},
	})
	return err
}

func failing(err error) Services {
	return Services{Controller: controller{create: func(context.Context, *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
		return nil, err
	}}}
}

func TestFailureIsConvertedLoggedOnceAndCounted(t *testing.T) {
	p := start(t, failing(volume.ErrNoSpace), 0, time.Second)
	if err := p.create(t.Context()); status.Code(err) != codes.ResourceExhausted {
		t.Fatalf("got %v", err)
	}
	if got := strings.Count(p.log(), "no space"); got != 1 {
		t.Errorf("the failure was logged %d times:\n%s", got, p.log())
	}
	for _, want := range []string{`method="CreateVolume"`, `code="ResourceExhausted"`, "request=", "took="} {
		if !strings.Contains(p.log(), want) {
			t.Errorf("the log lacks %s:\n%s", want, p.log())
		}
	}
	if got := p.metric(t, "lvme_rpc_duration_seconds"); len(got) != 1 || !strings.Contains(got[0], "ResourceExhausted") || !strings.Contains(got[0], "CreateVolume") {
		t.Errorf("durations: %q", got)
	}
	if got := p.metric(t, "lvme_rpcs_in_flight"); len(got) != 1 || !strings.Contains(got[0], "value:0") {
		t.Errorf("in flight: %q", got)
	}
}

// metric is the text of each series of that metric.
func (p *process) metric(t *testing.T, name string) (series []string) {
	t.Helper()
	families, err := p.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				series = append(series, m.String())
			}
		}
	}
	return series
}

func TestPanicIsInternalAndServerLives(t *testing.T) {
	p := start(t, Services{Controller: controller{create: func(context.Context, *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
		panic("out of cheese")
	}}}, 0, time.Second)
	err := p.create(t.Context())
	if status.Code(err) != codes.Internal || !strings.Contains(err.Error(), "out of cheese") {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(p.log(), "server_test.go") {
		t.Errorf("no stack in the log:\n%s", p.log())
	}
	if strings.Contains(err.Error(), "goroutine") {
		t.Error("the stack went to the caller")
	}
	if _, err := csi.NewControllerClient(p.conn).GetCapacity(t.Context(), &csi.GetCapacityRequest{}); err != nil {
		t.Errorf("next call: %v", err)
	}
}

func TestSecretsAreNeverLogged(t *testing.T) {
	p := start(t, failing(volume.ErrBusy), 10, time.Second)
	if err := p.create(t.Context()); status.Code(err) != codes.Aborted {
		t.Fatalf("got %v", err)
	}
	if log := p.log(); strings.Contains(log, "hunter2") || !strings.Contains(log, "stripped") || !strings.Contains(log, "v1") {
		t.Errorf("request in the log:\n%s", log)
	}
}

func TestQuietCallsAreLoggedInDetailOnly(t *testing.T) {
	for verbosity, want := range map[int]bool{detail - 1: false, detail: true} {
		p := start(t, failing(nil), verbosity, time.Second)
		if _, err := csi.NewControllerClient(p.conn).GetCapacity(t.Context(), &csi.GetCapacityRequest{}); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(p.log(), "4711"); got != want {
			t.Errorf("verbosity %d: answer logged = %v\n%s", verbosity, got, p.log())
		}
		if got := strings.Contains(p.log(), "GetCapacity"); got != want {
			t.Errorf("verbosity %d: call logged = %v\n%s", verbosity, got, p.log())
		}
	}
}

func TestRequestID(t *testing.T) {
	var seen, passedOn string
	p := start(t, Services{Controller: controller{create: func(ctx context.Context, _ *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
		seen = RequestID(ctx)
		md, _ := metadata.FromOutgoingContext(WithRequestID(ctx))
		passedOn = strings.Join(md.Get(requestIDHeader), "")
		return &csi.CreateVolumeResponse{}, nil
	}}}, 0, time.Second)
	for _, tc := range []struct {
		sent string
		kept bool
	}{{"abc-123", true}, {"", false}, {"a b", false}, {`a"b=c`, false}, {strings.Repeat("a", 65), false}} {
		if err := p.create(metadata.AppendToOutgoingContext(t.Context(), requestIDHeader, tc.sent)); err != nil {
			t.Fatal(err)
		}
		if kept := seen == tc.sent; kept != tc.kept || seen == "" || passedOn != seen {
			t.Errorf("sent %q: seen %q, passed on %q", tc.sent, seen, passedOn)
		}
		if !strings.Contains(p.log(), `request="`+seen+`"`) {
			t.Errorf("id %s is not in the log:\n%s", seen, p.log())
		}
	}
	if WithRequestID(t.Context()) != t.Context() {
		t.Error("a context of no request got an id")
	}
}

func TestServeLetsRunningCallsEnd(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	p := start(t, Services{Controller: controller{create: func(ctx context.Context, _ *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
		close(entered)
		<-release
		return &csi.CreateVolumeResponse{}, ctx.Err()
	}}}, 0, time.Minute)
	answered := make(chan error, 1)
	go func() { answered <- p.create(context.Background()) }()
	<-entered
	if got := p.metric(t, "lvme_rpcs_in_flight"); len(got) != 1 || !strings.Contains(got[0], "value:1") {
		t.Errorf("in flight: %q", got)
	}
	p.stop()
	select {
	case err := <-p.done:
		t.Fatalf("Serve returned with a call running: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	if err := <-answered; err != nil {
		t.Errorf("the running call: %v", err)
	}
	if err := <-p.done; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestServeStopsHardAtTheEndOfGrace(t *testing.T) {
	entered := make(chan struct{})
	ended := make(chan struct{})
	p := start(t, Services{Controller: controller{create: func(ctx context.Context, _ *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
		close(entered)
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	}}}, 0, 20*time.Millisecond)
	answered := make(chan error, 1)
	go func() { answered <- p.create(context.Background()) }()
	<-entered
	p.stop()
	if err := <-p.done; err != nil {
		t.Errorf("Serve: %v", err)
	}
	<-ended
	if err := <-answered; err == nil {
		t.Error("the call that was cut off succeeded")
	}
}

func TestIdentity(t *testing.T) {
	var health error
	p := start(t, Services{Identity: NewIdentity(func(context.Context) error { return health })}, 0, time.Second)
	client := csi.NewIdentityClient(p.conn)
	info, err := client.GetPluginInfo(t.Context(), &csi.GetPluginInfoRequest{})
	if err != nil || info.GetName() != "csi.lvme.dev" || info.GetVendorVersion() == "" {
		t.Errorf("info %v, %v", info, err)
	}
	caps, err := client.GetPluginCapabilities(t.Context(), &csi.GetPluginCapabilitiesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, c := range caps.GetCapabilities() {
		if s := c.GetService(); s != nil {
			got[s.GetType().String()] = true
		} else {
			got["expansion "+c.GetVolumeExpansion().GetType().String()] = true
		}
	}
	if len(got) != 3 || !got["CONTROLLER_SERVICE"] || !got["VOLUME_ACCESSIBILITY_CONSTRAINTS"] || !got["expansion ONLINE"] {
		t.Errorf("capabilities %v", got)
	}
	for _, tc := range []struct {
		health error
		ready  bool
		code   codes.Code
	}{
		{nil, true, codes.OK},
		{errors.Join(errors.New("reading drives"), ErrStarting), false, codes.OK},
		{errors.New("lvm2 is not installed"), false, codes.FailedPrecondition},
		{volume.ErrUnavailable, false, codes.FailedPrecondition},
	} {
		health = tc.health
		resp, err := client.Probe(t.Context(), &csi.ProbeRequest{})
		if status.Code(err) != tc.code || resp.GetReady().GetValue() != tc.ready || (err == nil) != (resp.GetReady() != nil) {
			t.Errorf("health %v: %v, %v", tc.health, resp, err)
		}
		if err != nil && !strings.Contains(err.Error(), tc.health.Error()) {
			t.Errorf("probe does not say why: %v", err)
		}
	}
}

func TestVersion(t *testing.T) {
	if Version() == "" {
		t.Error("no version")
	}
	defer func(old string) { version = old }(version)
	version = "v9.9.9"
	if Version() != "v9.9.9" {
		t.Errorf("got %s", Version())
	}
}

func TestListen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lvme")
	path := filepath.Join(dir, "csi.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	wantMode(t, dir, fs.ModeDir|0o700)
	wantMode(t, path, fs.ModeSocket|0o600)
	if _, err := Listen(path); !errors.Is(err, ErrSocketInUse) {
		t.Errorf("listening twice: %v", err)
	}
	wantMode(t, path, fs.ModeSocket|0o600) // the live socket is still there
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Close: %v", err)
	}
}

func TestListenReplacesWhatADeadProcessLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "csi.sock")
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	wantMode(t, path, fs.ModeSocket|0o755)
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	wantMode(t, path, fs.ModeSocket|0o600)
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

func TestListenRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"a file":         file,
		"a symlink":      link,
		"a long path":    "/" + strings.Repeat("a", maxSocketPath),
		"below a file":   filepath.Join(file, "csi.sock"),
		"no such device": "/proc/nowhere/csi.sock",
	} {
		if l, err := Listen(path); err == nil {
			_ = l.Close()
			t.Errorf("%s: listened on %s", name, path)
		} else if !strings.Contains(err.Error(), path) {
			t.Errorf("%s: the error does not name the socket: %v", name, err)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file: %q, %v", b, err)
	}
}

func TestListenInAnOpenDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "plugin")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "other")
	if err := os.WriteFile(other, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(filepath.Join(dir, "csi.sock")); err == nil || !strings.Contains(err.Error(), "other") {
		t.Errorf("with another's file: %v", err)
	}
	wantMode(t, dir, fs.ModeDir|0o755)
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	l, err := Listen(filepath.Join(dir, "csi.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	wantMode(t, dir, fs.ModeDir|0o700)
}

func wantMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != want {
		t.Errorf("%s has mode %s, want %s", path, info.Mode(), want)
	}
}
