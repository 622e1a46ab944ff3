package lvm

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
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

var versionLine = regexp.MustCompile(`(?m)^\s*LVM version:\s+(\d{1,4})\.(\d{1,4})\.(\d{1,4})`)

// Version asks the host's LVM for its version. ErrNotInstalled says that there is none.
func (l *LVM) Version(ctx context.Context) (Version, error) {
	out, err := l.query(ctx, nil, "version")
	if err != nil {
		return Version{}, fmt.Errorf("version of LVM: %w", err)
	}
	m := versionLine.FindSubmatch(out)
	if m == nil {
		return Version{}, fmt.Errorf("version of LVM: %w: %.100q", ErrReport, out)
	}
	var n [3]int
	for i := range n {
		n[i], _ = strconv.Atoi(string(m[i+1])) // digits only, by the expression
	}
	return Version{n[0], n[1], n[2]}, nil
}
