package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/lvme/lvme/test/verbs/crowd"
)

// baseBytes is the size of each of the volumes that fill the node: the smallest that
// has an ext4, so that thousands do not promise more than there is.
const baseBytes = 16 * mib

// quiet has LVM write no archives and no copies in /etc.
const quiet = `backup{backup=0 archive=0}`

// grow brings the node to so many volumes, all groups alike. The agent is stopped.
func (b *bench) grow(volumes int) error {
	each := (volumes - b.made) / len(b.groups)
	if each <= 0 {
		return nil
	}
	if b.agent != nil {
		if err := b.stop(); err != nil {
			return err
		}
	}
	for i, g := range b.groups {
		err := g.rewrite(func(group, pool string) (string, string, error) {
			group, n, err := crowd.InGroup(group, crowd.Twins{Pool: "pool", LV: g.base, Count: each, First: b.extra, Rename: func(k int, text string) string {
				number := (i+1)*100000 + b.extra + k
				return strings.ReplaceAll(text, strings.TrimPrefix(g.base, "v-"), fmt.Sprintf("%s%012d", baseName, number))
			}})
			if err != nil {
				return "", "", err
			}
			pool, err = crowd.InPool(pool, each, n)
			return group, pool, err
		})
		if err != nil {
			return fmt.Errorf("%d volumes more in %s: %w", each, g.name, err)
		}
	}
	b.extra += each
	b.made += each * len(b.groups)
	say("%d volumes on the node", b.made)
	return nil
}

// rewrite changes what LVM says of a group and what its pool says of itself, the pool
// being off. The pool's metadata are changed beside it and then exchanged.
func (g group) rewrite(change func(group, pool string) (string, string, error)) error {
	const beside, copied, dump = "bench_meta", "/run/verbs.vg", "/run/verbs.xml"
	device := "/dev/" + g.name + "/" + beside
	exchange := lvm("lvconvert", "--config", quiet, "-y", "--thinpool", g.name+"/pool", "--poolmetadata", g.name+"/"+beside)
	size, err := output(lvmPath, "lvs", "--noheadings", "--units", "b", "--nosuffix", "-o", "lv_metadata_size", g.name+"/pool")
	if err != nil {
		return err
	}
	_, err = runAll([]command{
		lvm("lvchange", "--config", quiet, "-an", g.name+"/pool"),
		lvm("lvcreate", "--config", quiet, "-an", "-Zn", "-Wn", "-L", size+"b", "-n", beside, g.name),
		exchange, // what is beside now is what the pool had
		lvm("lvchange", "--config", quiet, "-ay", g.name+"/"+beside),
	})
	if err != nil {
		return err
	}
	pool, err := output("thin_dump", device)
	if err != nil {
		return err
	}
	if _, err := lvm("vgcfgbackup", "-f", copied, g.name).run(); err != nil {
		return err
	}
	group, err := os.ReadFile(copied)
	if err != nil {
		return err
	}
	changed, pool, err := change(string(group), pool)
	if err != nil {
		return err
	}
	if err := errors.Join(os.WriteFile(dump, []byte(pool), 0o600), os.WriteFile(copied, []byte(changed), 0o600)); err != nil {
		return err
	}
	if _, err := output("thin_restore", "-i", dump, "-o", device); err != nil {
		return err
	}
	_, err = runAll([]command{
		lvm("lvchange", "--config", quiet, "-an", g.name+"/"+beside),
		lvm("vgcfgrestore", "--config", quiet, "-y", "--force", "-f", copied, g.name),
		exchange,
		lvm("lvremove", "--config", quiet, "-f", g.name+"/"+beside),
	})
	return err
}
