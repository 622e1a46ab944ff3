package hostns

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lvme/lvme/internal/run"
)

// useLVM does with a drive, after Enter and with what is left then, what the
// agent does: a pool, volumes of every kind, filesystems that are made, mounted,
// grown and trimmed, a raid with its module, and all of it away again.
func useLVM(drive string) error {
	dir, err := os.MkdirTemp("", "hostns")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, line := range []string{
		"lvm vgcreate --setautoactivation n confined " + drive,
		"lvm lvcreate --type thin-pool -L 512M --chunksize 512k --zero y -n pool confined",
		"lvm lvcreate -V 320M --thinpool pool -n thin confined",
		"lvm lvcreate -L 320M --type linear -Wy -y -n thick confined",
		"mkfs.ext4 -q /dev/confined/thick",
		"mkfs.xfs -q /dev/confined/thin",
		"mount -t ext4 -o noatime /dev/confined/thick " + dir,
		"lvm lvextend -L 384M confined/thick",
		"resize2fs /dev/confined/thick",
		"fstrim " + dir,
		"mount --bind " + dir + " " + dir,
		"umount " + dir,
		"umount " + dir,
		"mount -t xfs /dev/confined/thin " + dir,
		"lvm lvcreate -s -kn -n snap confined/thin",
		"lvm lvextend -L 384M confined/thin",
		"xfs_growfs " + dir,
		"umount " + dir,
		"lvm lvchange -an confined/thin",
		"lvm lvchange --addtag lvme:x=y confined/thin",
		"lvm lvchange -ay -K confined/thin",
		"lvm lvrename confined snap snip",
		"lvm vgremove -ff -y confined",
		"lvm pvremove " + drive,
	} {
		if err := tool(line); err != nil {
			return err
		}
	}
	fmt.Println("LVM: works")
	return nil
}

func tool(line string) error {
	words := strings.Fields(line)
	c := run.Cmd{Name: words[0], Args: words[1:], Changes: true}
	res, err := run.Host{}.Run(context.Background(), c)
	if err != nil || res.Code != 0 {
		return fmt.Errorf("%s: %v, exit %d: %s%s", line, err, res.Code, res.Stdout, res.Stderr)
	}
	return nil
}

// TestEnterLVM: what Enter leaves is enough for LVM, mounts and filesystems.
func TestEnterLVM(t *testing.T) {
	serials := strings.Split(os.Getenv("LVME_BED_DRIVES"), ",")
	if os.Getenv("LVME_BED") != "1" || serials[0] == "" {
		t.Skip("needs a drive of the bed: make test-real")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	links, err := filepath.Glob("/dev/disk/by-id/nvme-*" + serials[0] + "*")
	if err != nil || len(links) == 0 {
		t.Fatalf("drive %s: %v, %v", serials[0], links, err)
	}
	drive, err := filepath.EvalSymlinks(links[0])
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"-m", "-i", "-u", "-C", "sh", "-c", container + " lvm " + drive, "sh", t.TempDir(), self}
	seen := start(t, run.Cmd{Name: "unshare", Args: args})
	wantConfined(t, seen)
	if seen["LVM"] != "works" {
		t.Errorf("%v", seen)
	}
}
