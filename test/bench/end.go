package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/lvme/lvme/test/bed"
	"github.com/lvme/lvme/test/demo/rig"
)

// interrupt sends a signal to `lvme bench` while a fio of its writes to the drive, and prints its exit code.
const interrupt = `
"$2" bench --socket "$3" --rounds 9 --seconds 5 --size 384Mi --jobs 1 --layers raw,linear,thin-snap --workloads randwrite-4k >/run/interrupted 2>&1 &
pid=$!
for ((i = 0; i < 1200; i++)); do
	pgrep -x -a fio | grep -q filename=/dev/nvme && break
	kill -0 $pid 2>/dev/null || { cat /run/interrupted; exit 1; }
	sleep 0.1
done
kill "-$1" $pid
code=0; wait $pid 2>/dev/null || code=$?
echo $code`

// left lists everything that a run makes, and nothing else.
const left = `
lvs --noheadings --options lv_name --select 'lv_name=~lvme-bench' | xargs -r -n 1 echo
dmsetup ls | grep lvme-bench-linear || true
pgrep -x -a fio || true
ls -d /var/lib/kubelet/plugins/csi.lvme.dev/bench/* 2>/dev/null || true`

// ends shows that nothing is left of a run that was told to end, nor, after the next, of one that was killed in the middle of a
// write to the drive.
func (s settings) ends(ctx context.Context, node *bed.Node, say func(string, ...any)) error {
	if err := s.throttle(ctx, node, bed.Limit{}); err != nil {
		return err
	}
	code, err := rig.Sh(ctx, node, interrupt, "TERM", rig.Binary, rig.Socket)
	if err != nil {
		return err
	}
	told, err := rig.Sh(ctx, node, left)
	if err != nil {
		return err
	}
	if _, err := rig.Sh(ctx, node, interrupt, "KILL", rig.Binary, rig.Socket); err != nil {
		return err
	}
	remains, err := rig.Sh(ctx, node, left)
	if err != nil {
		return err
	}
	if _, err := rig.Sh(ctx, node, `"$@"`, rig.Binary, "bench", "--clean", "--socket", rig.Socket); err != nil {
		return err
	}
	cleaned, err := rig.Sh(ctx, node, left)
	if err != nil {
		return err
	}
	var failed []error
	if code != "1" || told != "" {
		failed = append(failed, fmt.Errorf("lvme bench ended on SIGTERM with exit code %s and left %q", code, told))
	}
	if remains == "" || cleaned != "" {
		failed = append(failed, fmt.Errorf("of a killed run %q was left, and after the next %q", remains, cleaned))
	}
	say("%s  nothing is left of a run that was told to end, and after the next of one that was killed", word(len(failed) == 0))
	return errors.Join(failed...)
}
