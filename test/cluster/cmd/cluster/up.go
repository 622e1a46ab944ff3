package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/lvme/lvme/test/cluster"
	"github.com/lvme/lvme/test/cluster/parts"
)

// up builds what is missing, starts a supervisor of the same flags in a network namespace of its own, and shows its
// progress until the cluster is up.
func (c *config) up(ctx context.Context, flags []string, stderr io.Writer, log func(string, ...any)) error {
	lock, err := c.lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := cluster.Build(ctx, c.options(log)); err != nil {
		return err
	}
	if err := os.RemoveAll(c.files()); err != nil {
		return err
	}
	if !c.bare {
		if _, err := c.makeRelease(ctx, log); err != nil {
			return err
		}
	}
	if err := lock.Truncate(0); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	messages, progress, err := os.Pipe()
	if err != nil {
		return err
	}
	defer messages.Close()
	said, err := os.Create(filepath.Join(c.dir, "supervisor.log"))
	if err != nil {
		return err
	}
	defer said.Close()
	cmd := exec.Command(self, append(slices.Clip(flags), "supervise")...)
	cmd.Stdout, cmd.Stderr = said, said
	cmd.ExtraFiles = []*os.File{progress, lock} // 3 and 4: the lock goes with its open file
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cluster.Isolate(cmd)
	err = cmd.Start()
	progress.Close()
	if err != nil {
		return fmt.Errorf("start the cluster's supervisor (root is needed): %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	if err := follow(messages, log); err != nil {
		return err
	}
	fmt.Fprintf(stderr, upText, relative(self))
	return nil
}

const upText = `
The cluster is up, in a network of its own. The ways in:
  %[1]s kubectl get nodes -o wide    # kubectl as the administrator
  %[1]s exec                         # a shell in its network, with KUBECONFIG, kubectl and helm
  %[1]s shell node1                  # a shell in a node
  make cluster-down                       # ends it
`

// The last message of a supervisor that has brought its cluster up, and of one whose cluster runs without lvme being ready.
const (
	done    = "up"
	partial = "up without lvme"
)

// follow passes the messages of a supervisor on.
func follow(messages io.Reader, log func(string, ...any)) error {
	lines := bufio.NewScanner(messages)
	last := ""
	for lines.Scan() {
		last = lines.Text()
		if last != done && last != partial {
			log("%s", last)
		}
	}
	switch last {
	case done:
		return nil
	case partial:
		return errors.New("lvme is not ready; the cluster stays up, for a look at why")
	}
	return errors.New("the cluster is not up")
}

// The files that a supervisor is given.
const (
	progressFD = 3
	lockFD     = 4
)

// supervise runs a cluster until it is told to end. Its parent does not wait for it once the cluster is up.
func (c *config) supervise(ctx context.Context) error {
	progress := os.NewFile(progressFD, "progress")
	lock := os.NewFile(lockFD, "lock")
	defer lock.Close() // gives the lock back
	syscall.CloseOnExec(progressFD)
	syscall.CloseOnExec(lockFD) // or what it starts would hold the lock beyond its end
	log := func(format string, args ...any) { fmt.Fprintf(progress, format+"\n", args...) }
	if _, err := fmt.Fprintf(lock, "%d\n", os.Getpid()); err != nil {
		return err
	}
	if err := c.prepare(); err != nil {
		return err
	}
	opts := c.options(log)
	up, err := cluster.Up(ctx, opts)
	if err != nil {
		log("%v", err)
		return err
	}
	err = c.serve(ctx, up, log, progress)
	return errors.Join(err, up.Down(), os.RemoveAll(c.file("tmp")))
}

// prepare makes the cluster's directory the place of temporary files: the drives.
func (c *config) prepare() error {
	tmp := c.file("tmp")
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return err
	}
	return os.Setenv("TMPDIR", tmp)
}

// serve finishes a cluster that is up, and serves it until its end. One on which lvme does not get ready is served as
// well: somebody will want to know why.
func (c *config) serve(ctx context.Context, up *cluster.Cluster, log func(string, ...any), progress io.Closer) error {
	if err := c.link(up); err != nil {
		log("%v", err)
		return err
	}
	served := make(chan error, 1)
	go func() { served <- up.Serve(ctx, c.file("control")) }()
	message := done
	if !c.bare {
		if err := c.installFirst(ctx, up); err != nil {
			log("%v", err)
			message = partial
		}
	}
	log("%s", message)
	return errors.Join(progress.Close(), <-served)
}

// installFirst installs the release that was made before the supervisor was started.
func (c *config) installFirst(ctx context.Context, up *cluster.Cluster) error {
	release, err := cluster.ReadRelease(c.releaseDir())
	if err != nil {
		return err
	}
	return up.Install(ctx, release)
}

// link puts what people need where they find it.
func (c *config) link(up *cluster.Cluster) error {
	if err := os.MkdirAll(c.file("bin"), 0o755); err != nil {
		return err
	}
	return errors.Join(
		os.Symlink(up.Program(parts.Kubectl), c.file("bin/kubectl")),
		os.Symlink(up.Program(parts.Helm), c.file("bin/helm")),
		os.Symlink(up.Kubeconfig(), filepath.Join(c.files(), "kubeconfig")),
	)
}

// releaseDir is where lvme is built. A supervisor has neither the network nor the working directory for that.
func (c *config) releaseDir() string {
	return filepath.Join(c.dir, "release")
}

// makeRelease builds lvme.
func (c *config) makeRelease(ctx context.Context, log func(string, ...any)) (cluster.Release, error) {
	start := time.Now()
	if err := os.MkdirAll(c.releaseDir(), 0o755); err != nil {
		return cluster.Release{}, err
	}
	release, err := cluster.MakeRelease(ctx, c.releaseDir(), "test")
	if err == nil {
		log("lvme %s built: %.1fs", release.Tag, time.Since(start).Seconds())
	}
	return release, err
}

// install builds lvme once more and has the cluster that runs upgrade to it.
func (c *config) install(ctx context.Context, log func(string, ...any)) error {
	release, err := c.makeRelease(ctx, log)
	if err != nil {
		return err
	}
	return c.attached(func(r *cluster.Remote) error {
		return r.Do(ctx, "install", release.Archive, release.Tag, release.Chart)
	})
}
