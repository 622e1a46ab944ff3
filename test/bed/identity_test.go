package bed_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/lvme/lvme/test/bed"
)

// identity returns what the guest's sysfs says of a drive: its identifiers, NUMA node and block size, with a dash for
// what is not there.
func identity(t *testing.T, n *bed.Node, serial string) string {
	t.Helper()
	block := "/sys/block/" + filepath.Base(device(t, n, serial))
	out := sh(t, n, "cd "+block+`; for f in eui nguid wwid device/numa_node device/device/numa_node queue/logical_block_size; do
		cat $f 2>/dev/null || echo -; done`)
	return strings.ReplaceAll(out, "\n", "|")
}

func TestDriveIdentity(t *testing.T) {
	want := map[string]string{
		"EUI":   "00 25 38 5b 71 b0 00 01|-|eui.0025385b71b00001|0|0|512",
		"NGUID": "00 25 38 5b 71 b0 00 02|00112233-4455-6677-8899-aabbccddeeff|eui.00112233445566778899aabbccddeeff|1|1|4096",
		"NONE":  "-|-|nvme.1b36-4e4f4e45-51454d55204e564d65204374726c-00000001|0|0|512",
		"UUID":  "-|-|uuid.11112222-3333-4444-5555-666677778888|1|1|512",
	}
	n := start(t, bed.Options{Drives: []bed.Drive{
		{Serial: "EUI", EUI64: 0x0025385b71b00001},
		{Serial: "NGUID", EUI64: 0x0025385b71b00002, NGUID: "00112233445566778899aabbccddeeff", NUMANode: 1, LogicalBlockSize: 4096},
		{Serial: "NONE"},
	}})
	must(t, "add to node 1", func() error {
		return n.AddDrive(t.Context(), bed.Drive{Serial: "UUID", UUID: "11112222-3333-4444-5555-666677778888", NUMANode: 1})
	})
	check := func(when string) {
		t.Helper()
		for serial, want := range want {
			if got := identity(t, n, serial); got != want {
				t.Errorf("%s, drive %s is\n%s, not\n%s", when, serial, got, want)
			}
		}
		if names := sh(t, n, "lsblk -dno NAME | grep -c nvme"); names != "4" {
			t.Errorf("%s: %s drives", when, names)
		}
	}
	check("new")
	replug := func(serial string) {
		t.Helper()
		must(t, "remove "+serial, func() error { return n.RemoveDrive(t.Context(), serial) })
		must(t, "replug "+serial, func() error { return n.ReplugDrive(t.Context(), serial) })
	}
	replug("EUI")
	replug("NGUID")
	check("replugged")
	must(t, "remove NONE", func() error { return n.RemoveDrive(t.Context(), "NONE") })
	must(t, "reboot", func() error { return n.Reboot(t.Context()) })
	must(t, "replug NONE", func() error { return n.ReplugDrive(t.Context(), "NONE") })
	check("rebooted")
	replug("UUID")
	check("rebooted and replugged")
}

func TestDriveIsRefused(t *testing.T) {
	n := start(t, bed.Options{})
	for what, d := range map[string]bed.Drive{
		"node 2":      {Serial: "A", NUMANode: 2},
		"short NGUID": {Serial: "B", NGUID: "0011"},
		"no UUID":     {Serial: "C", UUID: "00112233445566778899aabbccddeeff"},
		"no serial":   {},
	} {
		if err := n.AddDrive(t.Context(), d); err == nil {
			t.Errorf("%s: added", what)
		}
	}
	must(t, "add after that", func() error { return n.AddDrive(t.Context(), bed.Drive{Serial: "D"}) })
	must(t, "boot after that", func() error { n.PowerCut(); return n.Boot(t.Context()) })
}
