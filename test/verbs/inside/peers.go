package main

import (
	"fmt"
	"strings"
)

// The commands of LVM that other drivers run for the same verbs, by their source as
// of 2026-08. None of them switches a volume on when it is staged: it is active from
// its creation on.

// lvFields are asked for by TopoLVM in each lvs.
const lvFields = "lv_uuid,lv_name,lv_full_name,lv_path,lv_size,lv_kernel_major,lv_kernel_minor,origin,origin_size,pool_lv,lv_tags,lv_attr,vg_name,data_percent,metadata_percent,pool_lv"

// topoLVM is lvmd's, of a thin device class (internal/lvmd/lvservice.go).
func topoLVM(vg string) *replaySide {
	const token = "topo-000"
	name, snap, copied := vg+"/"+token, vg+"/snap-"+token, vg+"/copy-"+token
	group := lvm("vgs", vg, "-o", "vg_uuid,vg_name,vg_size,vg_free", "--units", "b", "--nosuffix", "--reportformat", "json")
	lvs := func(what string) command {
		return lvm("lvs", what, "-o", lvFields, "--units", "b", "--nosuffix", "--reportformat", "json")
	}
	pool, all := lvs(vg+"/pool"), lvs(vg)
	snapshot := func(of, to string, activate ...string) []command {
		_, short, _ := strings.Cut(to, "/")
		return []command{
			group, lvs(of), pool, all, lvm("lvcreate", "-s", "-k", "n", "-n", short, of), lvs(to),
			lvm(append(append([]string{"lvchange"}, activate...), "/dev/"+to)...),
		}
	}
	remove := func(what string) []command { return []command{group, lvm("lvremove", "-f", what)} }
	return &replaySide{token: token, device: "/dev/" + name, steps: map[string][]command{
		create:        {group, pool, all, lvm("lvcreate", "-T", vg+"/pool", "-n", token, "-V", sizeArg(benchBytes), "-W", "y", "-y"), lvs(name)},
		takeSnapshot:  snapshot(name, snap, "-p", "r"),
		restore:       snapshot(snap, copied, "-k", "n", "-a", "y"),
		expand:        {group, pool, lvs(name), all, lvm("lvresize", "-L", sizeArg(expandedBytes), name), lvs(name)},
		deleteRestore: remove(copied),
		deleteSnap:    remove(snap),
		deleteVolume:  remove(name),
	}}
}

// openEBS is LVM LocalPV's, of thin volumes (pkg/lvm/lvm_util.go). It has the
// filesystem grown by lvextend itself, which is left out here as of the others.
func openEBS(vg string) *replaySide {
	const token = "oebs-000"
	name, snap, copied := vg+"/"+token, vg+"/snap-"+token, vg+"/copy-"+token
	exists := func(what string) command { return lvm("lvs", what, "--noheadings", "-o", "lv_name") }
	remove := func(what string) command { return lvm("lvremove", "-y", "/dev/"+what) }
	empty := lvm("lvs", "--reportformat", "json", "-o", "lv_name,pool_lv")
	return &replaySide{token: token, device: "/dev/" + name, steps: map[string][]command{
		create:       {exists(vg + "/pool"), lvm("lvcreate", "-T", vg+"/pool", "-V", sizeArg(benchBytes), "-n", token, "-y")},
		takeSnapshot: {lvm("lvcreate", "--snapshot", "--name", "snap-"+token, "--permission", "r", "/dev/"+name)},
		restore:      {exists(snap), lvm("lvcreate", "-s", "-n", "copy-"+token, snap, "-y"), lvm("lvchange", "-kn", "-ay", copied)},
		expand: {
			lvm("lvs", "-o", "lv_size", "--noheadings", "--nosuffix", "--units", "b", "/dev/"+name),
			lvm("vgs", "-o", "vg_extent_size", "--noheadings", "--nosuffix", "--units", "b", vg),
			lvm("lvextend", "/dev/"+name, "-L", sizeArg(expandedBytes)),
		},
		deleteRestore: {remove(copied), empty},
		deleteSnap:    {exists(snap), lvm("lvremove", "-y", snap)},
		deleteVolume:  {remove(name), empty},
	}}
}

func sizeArg(bytes int64) string { return fmt.Sprintf("%db", bytes) }
