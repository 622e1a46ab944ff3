package drive

import (
	"context"
	"errors"
)

// Discover returns every NVMe drive of the host, sorted by Name, with its
// content and health. A drive that cannot be read is listed all the same and
// says so in Content.Error and Health.Reasons. The error means that the host
// itself could not be looked at, never that one drive is bad.
func Discover(ctx context.Context, h Host) ([]Drive, error) {
	return nil, errors.New("not written yet")
}

// List is Discover without opening any drive: sysfs and procfs only, no
// process started. Content.Probed is false and Health unknown.
func List(ctx context.Context, h Host) ([]Drive, error) {
	return nil, errors.New("not written yet")
}

// ReadHealth reads the health of one drive of List or Discover. It starts no
// process and never fails: what cannot be read is HealthUnknown with the
// reason.
func ReadHealth(ctx context.Context, h Host, d Drive) Health {
	return Health{Status: HealthUnknown}
}
