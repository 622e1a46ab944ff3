package drive

import (
	"context"
	"time"

	"github.com/lvme/lvme/internal/run"
)

// Host is the machine whose drives are looked at. Its zero value with a Runner
// is this machine.
type Host struct {
	// Root is put before every path that is read (/sys, /proc, /dev), so that
	// a test can show a machine that does not exist. Names in answers never
	// carry it.
	Root string
	// Runner runs blkid.
	Runner run.Runner
	// SMART reads the SMART log of a controller's character device. Nil means
	// the NVMe admin command of the kernel.
	SMART func(ctx context.Context, device string) (SMART, error)
	// Patience is how long one drive may take to answer before it is reported
	// as not answering; 0 means 15 s.
	Patience time.Duration
}
