package drive

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestConcernsDrives(t *testing.T) {
	for message, want := range map[string]bool{
		"add@/devices/x|ACTION=add|SUBSYSTEM=block|DEVNAME=nvme0n1|DEVTYPE=disk":        true,
		"remove@/devices/x|ACTION=remove|SUBSYSTEM=block|DEVNAME=nvme12n3|DEVTYPE=disk": true,
		"change@/devices/x|ACTION=change|SUBSYSTEM=block|DEVNAME=nvme0n1|RESIZE=1":      true,
		"change@/devices/x|ACTION=change|SUBSYSTEM=block|DEVNAME=nvme0n1|SYNTH_UUID=0":  false, // closed after writing
		"add@/devices/x|ACTION=add|SUBSYSTEM=block|DEVNAME=nvme0n1p1":                   false,
		"add@/devices/x|ACTION=add|SUBSYSTEM=block|DEVNAME=dm-4":                        false,
		"add@/devices/x|ACTION=add|SUBSYSTEM=block|DEVNAME=sda":                         false,
		"add@/devices/x|ACTION=add|SUBSYSTEM=nvme|DEVNAME=nvme0":                        true,
		"change@/devices/x|ACTION=change|SUBSYSTEM=nvme|NVME_EVENT=connected":           true,
		"bind@/devices/x|ACTION=bind|SUBSYSTEM=pci":                                     false,
		"": false,
	} {
		if got := concernsDrives(strings.ReplaceAll(message, "|", "\x00")); got != want {
			t.Errorf("%s: got %t", message, got)
		}
	}
}

func TestDebounce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events, changed := make(chan struct{}, 1), make(chan struct{}, 1)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go debounce(ctx, events, changed, time.Second)
		start := time.Now()
		for range 5 { // one plugging
			signal(events)
			time.Sleep(400 * time.Millisecond)
		}
		<-changed
		if took := time.Since(start); took != 2600*time.Millisecond {
			t.Errorf("reported after %v, want a second after the last event", took)
		}
		time.Sleep(time.Hour)
		select {
		case <-changed:
			t.Error("reported twice")
		default:
		}
		close(events)
		if _, open := <-changed; open {
			t.Error("not closed with its source")
		}
	})
}

func TestWatchEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	changed, err := Watch(ctx)
	if err != nil {
		t.Skipf("this host gives no uevents: %v", err)
	}
	cancel()
	for range changed { // ends, or the test never does
	}
}
