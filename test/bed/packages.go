package bed

import (
	"context"
	"io"
)

// Packages writes the files of Debian packages, comma separated, and of what they depend on to a tar stream: of the
// release that the guests have, unpacked and not configured. It has the needs of [Build].
func Packages(ctx context.Context, packages string, to io.Writer, log func(format string, args ...any)) error {
	if err := ensureMmdebstrap(ctx, log); err != nil {
		return err
	}
	return run(ctx, nil, to, mmdebstrap("extract", packages)...)
}
