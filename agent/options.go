package agent

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/internal/hostrecord"
	"github.com/lvme/lvme/internal/web"
)

const (
	// DefaultSocket is where the agent serves CSI on a host. In a cluster it
	// is the kubelet's directory for the driver instead:
	// /var/lib/kubelet/plugins/csi.lvme.dev/csi.sock.
	DefaultSocket = "/run/lvme/csi.sock"
	// DefaultGrace leaves a few seconds of Kubernetes' 30 for what follows.
	DefaultGrace = 25 * time.Second

	// DefaultKubeletDir is the kubelet's --root-dir unless it was given another.
	DefaultKubeletDir = "/var/lib/kubelet"

	// DefaultTLSDir is where a pod of the agent has its certificate.
	DefaultTLSDir = "/etc/lvme/tls"

	// RegisterAuto stands for the kubelet's own directory in Options.Register.
	RegisterAuto = "auto"

	// maxNodeID is CSI's limit of node_id in bytes, 256, less what other
	// drivers' ids take of the same CSINode object.
	maxNodeID = 192
	// maxSocket is what the kernel takes for the path of a Unix socket.
	maxSocket = 107
)

// Options are what the process is told. Flags reads them, Validate judges them.
type Options struct {
	// Socket is the path of the Unix socket; its directory is made private.
	Socket string
	// StateDir holds the host record.
	StateDir string
	// KubeletDir is the directory below which volumes are mounted, and below
	// which no symbolic link is followed; "" for anywhere.
	KubeletDir string
	// NodeID is the node_id of CSI: in a cluster the Kubernetes node's name.
	NodeID string
	// HTTP is the address of the port for metrics and health, "" for none. An
	// address without a host is a loopback address.
	HTTP string
	// ClusterAddress is host:port for the router of a cluster, which gets the
	// controller service there, over mutual TLS; "" for none.
	ClusterAddress string
	// TLSDir is the directory with the certificate for it, see package mtls. It
	// may be empty at first, and change at any time.
	TLSDir string
	// Register is the directory in which the kubelet looks for drivers to
	// register, RegisterAuto for the one below KubeletDir, "" to register
	// nowhere.
	Register string
	// Grace is how long calls may run on after the process was told to stop.
	// LVM commands are always waited for.
	Grace time.Duration
	// Config is the drive configuration.
	Config drive.Config
}

// Flags adds a flag for each option but Config, which is a file, and sets the
// options to the defaults. nodeID is the default of NodeID.
func (o *Options) Flags(fs *pflag.FlagSet, nodeID string) {
	fs.StringVar(&o.Socket, "socket", DefaultSocket, "Unix socket to serve CSI on; in a cluster\n/var/lib/kubelet/plugins/csi.lvme.dev/csi.sock")
	fs.StringVar(&o.StateDir, "state-dir", hostrecord.Dir, "directory of the host record")
	fs.StringVar(&o.KubeletDir, "kubelet-dir", DefaultKubeletDir, "directory below which volumes are mounted, the kubelet's --root-dir;\nempty for anywhere")
	fs.StringVar(&o.NodeID, "node-id", nodeID, "CSI node id: the name of the Kubernetes node, or of the host")
	fs.StringVar(&o.HTTP, "http", "", "`address` to serve /metrics, /healthz and /readyz on, none if empty;\nwithout a host it is a loopback address: 9810 means 127.0.0.1:9810")
	fs.StringVar(&o.ClusterAddress, "cluster-address", "", "host:port to serve the cluster's router on, over mutual TLS only;\nnone if empty")
	fs.StringVar(&o.TLSDir, "tls-dir", DefaultTLSDir, "`directory` with tls.crt, tls.key and ca.crt for --cluster-address, read again\nwhen they change; in a container one of its image")
	fs.StringVar(&o.Register, "register", "", "the kubelet's `directory` for registrations, in which to register the driver:\nauto means plugins_registry below --kubelet-dir; nowhere if empty")
	fs.DurationVar(&o.Grace, "grace", DefaultGrace, "how long running calls may take to end after SIGTERM;\nrunning LVM commands are always waited for")
}

// Validate names every fault of the options at once.
func (o *Options) Validate() error {
	var faults faults
	if !cleanPath(o.Socket) || len(o.Socket) > maxSocket {
		faults.add("socket", o.Socket, fmt.Sprintf("an absolute path of at most %d bytes", maxSocket))
	}
	if !cleanPath(o.StateDir) {
		faults.add("state-dir", o.StateDir, "an absolute path")
	}
	if o.KubeletDir != "" && !cleanPath(o.KubeletDir) {
		faults.add("kubelet-dir", o.KubeletDir, "an absolute path, or empty")
	}
	if o.NodeID == "" || len(o.NodeID) > maxNodeID || strings.TrimSpace(o.NodeID) != o.NodeID {
		faults.add("node-id", o.NodeID, fmt.Sprintf("a name of 1 to %d bytes", maxNodeID))
	}
	if _, err := web.Address(o.HTTP); err != nil {
		faults.add("http", o.HTTP, "empty, a port, or host:port ("+err.Error()+")")
	}
	o.validateCluster(&faults)
	if o.Grace < 0 {
		faults.add("grace", o.Grace.String(), "0s or more")
	}
	if len(o.Config.Classes) == 0 {
		faults = append(faults, errors.New("drive configuration: must have at least one class"))
	}
	return errors.Join(faults...)
}

// validateCluster judges what only a cluster needs.
func (o *Options) validateCluster(faults *faults) {
	if o.ClusterAddress != "" {
		if _, port, err := net.SplitHostPort(o.ClusterAddress); err != nil || !isPort(port) {
			faults.add("cluster-address", o.ClusterAddress, "empty, or host:port")
		}
		if !cleanPath(o.TLSDir) {
			faults.add("tls-dir", o.TLSDir, "an absolute path")
		}
	}
	if o.Register == RegisterAuto && o.KubeletDir == "" {
		faults.add("register", o.Register, "a directory when --kubelet-dir is empty")
	} else if dir := o.registerDir(); dir != "" && (!cleanPath(dir) || len(filepath.Join(dir, registrationSocket)) > maxSocket) {
		faults.add("register", o.Register, fmt.Sprintf("empty, auto, or an absolute path of at most %d bytes", maxSocket-len(registrationSocket)-1))
	}
}

// registerDir is the directory to register in, "" for none.
func (o *Options) registerDir() string {
	if o.Register == RegisterAuto {
		return filepath.Join(o.KubeletDir, "plugins_registry")
	}
	return o.Register
}

// faults are what is wrong with flags.
type faults []error

func (f *faults) add(flag, value, allowed string) {
	*f = append(*f, fmt.Errorf("--%s is %q, must be %s", flag, value, allowed))
}

func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

func cleanPath(path string) bool { return filepath.IsAbs(path) && filepath.Clean(path) == path }
