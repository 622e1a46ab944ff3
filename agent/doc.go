// Package agent is the process that runs on every node: the CSI driver of that
// node's NVMe drives on one Unix socket, and the work that nobody calls for.
//
// It puts the parts together and owns what belongs to none of them: the order
// of start and stop, readiness, the look at drives that come and go, taking
// drives of automatic classes, metrics and the HTTP port, and what is wrong with
// a host and its store. What a call does is
// decided in packages controller and node, what happens to a volume in package
// volume; nothing is decided here twice.
//
// In the import table it stands between cmd/lvme, which alone imports it, and
// the services: it may import controller, node, driver, volume, drive, lvm and
// internal packages.
package agent
