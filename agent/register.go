package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"k8s.io/klog/v2"
	kubelet "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/lvme/lvme/driver"
)

const (
	// registrationSocket is the name of the socket that the kubelet finds.
	registrationSocket = driver.Name + "-reg.sock"
	// csiVersion is what the kubelet wants to hear of CSI 1.x.
	csiVersion = "1.0.0"
	// registrationPoll is how often the socket is looked at.
	registrationPoll = time.Second
	// registrationSilence is how long the kubelet may ask nothing before it is
	// taken not to know of the socket. After a failure it asks again by itself,
	// at the latest after 2 min 2 s, however often the socket is made anew.
	registrationSilence = 3 * time.Minute
	// maxReason bounds what is kept of the kubelet's reason, in bytes.
	maxReason = 1024
)

// ErrUnregistered says that the kubelet does not know this driver.
var ErrUnregistered = errors.New("not registered with the kubelet")

// registration registers the driver with the kubelet, which finds a socket in a
// directory, asks it who is there, calls NodeGetInfo of the driver named and
// tells how it went. What it writes into the Node object, the store's label, it
// neither changes nor removes later, so the socket stands only while the store
// is open. The driver is registered as long as the socket stands.
type registration struct {
	kubelet.UnimplementedRegistrationServer
	path     string // of the socket
	endpoint string // path of the CSI socket
	poll     time.Duration
	silence  time.Duration

	mu     sync.Mutex
	reason error // nil when it is registered
	said   string
	heard  time.Time // when the kubelet last called, or the socket was made
}

func newRegistration(dir, endpoint string) *registration {
	return &registration{
		path: filepath.Join(dir, registrationSocket), endpoint: endpoint, poll: registrationPoll, silence: registrationSilence,
		reason: errors.New("the store is not open yet"),
	}
}

// clear removes the socket of an agent that died. Its caller holds the lock, so
// there is no other agent.
func (r *registration) clear() error {
	info, err := os.Lstat(r.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil && info.Mode().Type() != fs.ModeSocket:
		err = errors.New("exists and is no socket")
	case err == nil:
		err = os.Remove(r.path)
	}
	if err != nil {
		return fmt.Errorf("--register: %s: %w", r.path, err)
	}
	return nil
}

// Ready is nil when the kubelet has said that the driver is registered.
func (r *registration) Ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reason == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrUnregistered, r.reason)
}

// run keeps the driver registered until ctx ends. The store must be open.
func (r *registration) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := r.stand(ctx); err != nil && ctx.Err() == nil {
			r.set(klog.FromContext(ctx), err)
			wait(ctx, r.poll)
		}
	}
}

// stand makes the socket and serves it until ctx ends or it must be made anew.
func (r *registration) stand(ctx context.Context) error {
	l, ours, err := r.listen()
	if err != nil {
		return err
	}
	srv := grpc.NewServer()
	kubelet.RegisterRegistrationServer(srv, answers{r, klog.FromContext(ctx)})
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	defer srv.Stop()
	defer r.remove(ctx, ours)
	r.waitFor(ctx, "the kubelet has not asked yet")
	tick := time.NewTicker(r.poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-served:
			return fmt.Errorf("serve %s: %w", r.path, err)
		case now := <-tick.C:
			if !r.stands(ours) {
				r.waitFor(ctx, "somebody removed the socket "+r.path)
				return nil
			}
			if r.forgotten(now) {
				r.waitFor(ctx, fmt.Sprintf("the kubelet has not asked for %s: does it look into %s?", r.silence, filepath.Dir(r.path)))
				return nil
			}
		}
	}
}

// listen makes the socket. The directory is the kubelet's to make: in one that
// the agent made nobody would look.
func (r *registration) listen() (net.Listener, fs.FileInfo, error) {
	if _, err := os.Stat(filepath.Dir(r.path)); err != nil {
		return nil, nil, fmt.Errorf("the kubelet's directory for registrations: %w", err)
	}
	if err := r.clear(); err != nil {
		return nil, nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: r.path, Net: "unix"})
	if err != nil {
		return nil, nil, fmt.Errorf("make the socket for the kubelet: %w", err)
	}
	l.SetUnlinkOnClose(false) // by then there may be another one
	err = os.Chmod(r.path, fileMode)
	info, statErr := os.Lstat(r.path)
	if err = errors.Join(err, statErr); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("make the socket for the kubelet: %w", err), l.Close(), os.Remove(r.path))
	}
	return l, info, nil
}

// stands says whether the socket in the directory is the one that was made.
func (r *registration) stands(ours fs.FileInfo) bool {
	info, err := os.Lstat(r.path)
	return err == nil && os.SameFile(info, ours)
}

// remove has the kubelet forget the driver.
func (r *registration) remove(ctx context.Context, ours fs.FileInfo) {
	if !r.stands(ours) {
		return
	}
	if err := os.Remove(r.path); err != nil {
		klog.FromContext(ctx).Error(err, "the kubelet goes on taking the driver for registered", "socket", r.path)
	}
}

// forgotten says that the kubelet does not seem to know of the socket.
func (r *registration) forgotten(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reason != nil && now.Sub(r.heard) > r.silence
}

// waitFor sets why the kubelet is waited for from now on.
func (r *registration) waitFor(ctx context.Context, reason string) {
	r.touch()
	r.set(klog.FromContext(ctx), errors.New(reason))
}

// touch notes that the kubelet was heard of.
func (r *registration) touch() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard = time.Now()
}

// set notes how things stand, nil for registered, and logs it if it is news.
func (r *registration) set(log klog.Logger, reason error) {
	text := "registered"
	if reason != nil {
		text = reason.Error()
	}
	r.mu.Lock()
	r.reason = reason
	news := text != r.said
	r.said = text
	r.mu.Unlock()
	log = log.WithValues("socket", r.path)
	switch {
	case !news:
	case reason == nil:
		log.Info("registered with the kubelet")
	default:
		log.Info("not registered with the kubelet; it is tried again until it succeeds", "because", text)
	}
}

// answers is the service that the kubelet calls.
type answers struct {
	*registration
	log klog.Logger
}

// GetInfo implements kubelet.RegistrationServer.
func (a answers) GetInfo(context.Context, *kubelet.InfoRequest) (*kubelet.PluginInfo, error) {
	a.touch()
	return &kubelet.PluginInfo{Type: kubelet.CSIPlugin, Name: driver.Name, Endpoint: a.endpoint, SupportedVersions: []string{csiVersion}}, nil
}

// NotifyRegistrationStatus implements kubelet.RegistrationServer.
func (a answers) NotifyRegistrationStatus(_ context.Context, s *kubelet.RegistrationStatus) (*kubelet.RegistrationStatusResponse, error) {
	a.touch()
	var reason error
	if !s.GetPluginRegistered() {
		text := s.GetError()
		reason = errors.New("the kubelet refuses: " + strings.ToValidUTF8(text[:min(len(text), maxReason)], "?"))
	}
	a.set(a.log, reason)
	return &kubelet.RegistrationStatusResponse{}, nil
}

// wait waits for that long, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
