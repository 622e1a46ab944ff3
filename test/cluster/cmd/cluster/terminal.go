package main

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/lvme/lvme/test/cluster"
)

// rawTerminal hands every key to the guest's terminal, and returns what restores ours. Without a terminal it does
// nothing.
func rawTerminal() (restore func()) {
	fd := int(os.Stdin.Fd())
	old, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return func() {}
	}
	raw := *old
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Oflag &^= unix.OPOST
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &raw); err != nil {
		return func() {}
	}
	return func() { _ = unix.IoctlSetTermios(fd, unix.TCSETS, old) }
}

// terminalSize returns the size of our terminal, or the usual one.
func terminalSize() *cluster.Terminal {
	size, err := unix.IoctlGetWinsize(int(os.Stdout.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return &cluster.Terminal{Rows: 24, Cols: 80}
	}
	return &cluster.Terminal{Rows: size.Row, Cols: size.Col}
}
