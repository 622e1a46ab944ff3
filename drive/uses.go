package drive

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// linkDirs hold udev's stable names of block devices.
var linkDirs = []string{"/dev/disk/by-id", "/dev/disk/by-path"}

// uses is what the host does with its block devices, read once for all drives.
type uses struct {
	mounts []mount
	swaps  []string            // device paths
	links  map[string][]string // by the device name they lead to
}

type mount struct {
	major, minor uint32
	source       string
	target       string
}

func (t tree) uses() (uses, error) {
	mounts, err := os.ReadFile(t.path("proc/self/mountinfo"))
	if err != nil {
		return uses{}, fmt.Errorf("read mounts: %w", err)
	}
	swaps, err := os.ReadFile(t.path("proc/swaps"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel without swap has no such file
		return uses{}, fmt.Errorf("read swaps: %w", err)
	}
	return uses{mounts: parseMounts(string(mounts)), swaps: parseSwaps(string(swaps)), links: t.links()}, nil
}

// parseMounts reads /proc/self/mountinfo; see proc_pid_mountinfo(5).
func parseMounts(text string) []mount {
	var mounts []mount
	for line := range strings.Lines(text) {
		before, after, ok := strings.Cut(strings.TrimSpace(line), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 2 {
			continue
		}
		major, minor, _ := strings.Cut(left[2], ":")
		mounts = append(mounts, mount{
			major: uint32Of(major), minor: uint32Of(minor),
			source: unescape(right[1]), target: unescape(left[4]),
		})
	}
	return mounts
}

// parseSwaps reads /proc/swaps: a line of titles, then a device or file first
// in each line.
func parseSwaps(text string) []string {
	var swaps []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) > 1 && strings.HasPrefix(fields[0], "/") {
			swaps = append(swaps, unescape(fields[0]))
		}
	}
	return swaps
}

// unescape undoes the kernel's octal escapes of blanks (\040).
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// links finds udev's names. A host without them (udev not running) has none.
func (t tree) links() map[string][]string {
	found := map[string][]string{}
	for _, dir := range linkDirs {
		for _, name := range t.names(dir) {
			target, err := os.Readlink(t.path(dir, name))
			if err != nil {
				continue
			}
			device := filepath.Base(target)
			found[device] = append(found[device], dir+"/"+name)
		}
	}
	return found
}

// addTo tells a drive what uses it.
func (u uses) addTo(d *Drive) {
	d.Paths = slices.Sorted(slices.Values(u.links[d.Name]))
	u.addDevice(d, d.Name, d.Major, d.Minor)
	for _, p := range d.Partitions {
		u.addDevice(d, p.Name, p.Major, p.Minor)
	}
}

func (u uses) addDevice(d *Drive, name string, major, minor uint32) {
	for _, m := range u.mounts {
		use := Use{Device: name, By: m.target}
		// btrfs mounts have a device number of their own: there the source says
		// what is mounted.
		same := m.major == major && m.minor == minor || m.source == "/dev/"+name ||
			slices.Contains(u.links[name], m.source)
		if same && !slices.Contains(d.Mounts, use) {
			d.Mounts = append(d.Mounts, use)
		}
	}
	if slices.Contains(u.swaps, "/dev/"+name) {
		d.Swaps = append(d.Swaps, name)
	}
}
