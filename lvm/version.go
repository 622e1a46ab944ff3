package lvm

import (
	"context"
	"fmt"
)

// Version is LVM's own version.
type Version struct{ Major, Minor, Patch int }

// String is the version as LVM writes it, such as 2.03.31.
func (v Version) String() string { return fmt.Sprintf("%d.%02d.%02d", v.Major, v.Minor, v.Patch) }

// Less says whether v is older than o.
func (v Version) Less(o Version) bool {
	if v.Major != o.Major {
		return v.Major < o.Major
	}
	if v.Minor != o.Minor {
		return v.Minor < o.Minor
	}
	return v.Patch < o.Patch
}

// Version asks the host's LVM for its version. ErrNotInstalled says that there is none.
func (l *LVM) Version(ctx context.Context) (Version, error) { return Version{}, errTODO }
