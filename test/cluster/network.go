package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/lvme/lvme/test/bed"
)

// The addresses of a cluster. It is alone in its network namespace, so that they are the same in each.
const (
	bridge      = "cluster0"
	hole        = "hole0"     // a network without anybody, for cuts
	HostAddress = "10.88.0.1" // of the control plane
	PodNetwork  = "10.244.0.0/16"
)

// nodeAddress is the address of the node of a number, from 1.
func nodeAddress(number int) string {
	return fmt.Sprintf("10.88.0.%d", 10+number)
}

// podRange are the addresses of the pods of a node.
func podRange(number int) string {
	return fmt.Sprintf("10.244.%d.0/24", number)
}

// card is the network card of a node.
func card(number int) *bed.Card {
	return &bed.Card{Tap: tap(number), MAC: fmt.Sprintf("52:54:00:88:00:%02x", 10+number)}
}

func tap(number int) string {
	return fmt.Sprintf("node%d", number)
}

// Isolate has a command run in a network namespace of its own, as what calls Up must. It wants root. All that the
// command starts is in the namespace as well, which ends with the last of them.
func Isolate(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWNET
}

// makeNetwork connects this process and its nodes to be in the network namespace, which must hold nothing yet.
func makeNetwork(nodes int) error {
	script := []string{
		"link set lo up",
		"link add " + bridge + " type bridge",
		"addr add " + HostAddress + "/16 dev " + bridge,
		"link set " + bridge + " up",
		"link add " + hole + " type bridge",
		"link set " + hole + " up",
	}
	for i := 1; i <= nodes; i++ {
		script = append(script,
			"tuntap add "+tap(i)+" mode tap",
			"link set "+tap(i)+" master "+bridge+" up",
			"route add "+podRange(i)+" via "+nodeAddress(i),
		)
	}
	if err := ip(script...); err != nil {
		return err
	}
	return os.WriteFile("/proc/sys/net/ipv4/conf/"+bridge+"/rp_filter", []byte("1"), 0) // for cuts
}

// removeNetwork takes all of it away but the loopback; routes end with their device.
func removeNetwork(nodes int) error {
	script := []string{"link del " + bridge, "link del " + hole}
	for i := 1; i <= nodes; i++ {
		script = append(script, "link del "+tap(i))
	}
	return ip(script...)
}

// ip runs commands of ip(8) until one fails. They take no time worth a context.
func ip(script ...string) error {
	for _, line := range script {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", line, err, out)
		}
	}
	return nil
}
