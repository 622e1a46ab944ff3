package drive

import (
	"context"
	"errors"
	"fmt"
)

// HealthStatus is a drive's state of health in one word.
type HealthStatus string

// The states of health, from nothing known to failing.
const (
	HealthUnknown  HealthStatus = "unknown"
	HealthGood     HealthStatus = "good"
	HealthWarning  HealthStatus = "warning"  // works, is worn or has lost data once: plan its replacement
	HealthCritical HealthStatus = "critical" // the drive itself or its controller reports failure
)

// Health is what a drive says of itself. The numbers mean something only when
// SMART is not nil.
type Health struct {
	Status HealthStatus `json:"status"`
	// Reasons say why the status is not good: what is worn, or why it could
	// not be read.
	Reasons []string `json:"reasons,omitempty"`
	SMART   *SMART   `json:"smart,omitempty"`
}

// SMART is the part of the NVMe SMART / Health Information log (log page 02h)
// that says something about the drive's future.
type SMART struct {
	CriticalWarning uint8 `json:"criticalWarning"` // bits: 0 spare, 1 temperature, 2 reliability, 3 read-only, 4 backup, 5 PMR
	TemperatureC    int   `json:"temperatureCelsius"`
	AvailableSpare  int   `json:"availableSparePercent"`
	SpareThreshold  int   `json:"spareThresholdPercent"`
	PercentageUsed  int   `json:"percentageUsed"` // may exceed 100
	// Counters of the whole life; a counter past 2^64-1 stays there.
	BytesRead       uint64 `json:"bytesRead"`
	BytesWritten    uint64 `json:"bytesWritten"`
	PowerCycles     uint64 `json:"powerCycles"`
	PowerOnHours    uint64 `json:"powerOnHours"`
	UnsafeShutdowns uint64 `json:"unsafeShutdowns"`
	MediaErrors     uint64 `json:"mediaErrors"`
	ErrorLogEntries uint64 `json:"errorLogEntries"`
}

// warnings are the bits of SMART.CriticalWarning.
var warnings = []struct {
	text   string
	status HealthStatus
}{
	{"spare blocks are below the drive's threshold", HealthCritical},
	{"temperature is outside the drive's limits", HealthWarning},
	{"reliability is degraded by media or internal errors", HealthCritical},
	{"the drive has put its media into read-only mode", HealthCritical},
	{"the backup of its volatile memory has failed", HealthCritical},
	{"its persistent memory region is unreliable", HealthWarning},
}

// ReadHealth reads the health of one drive of List or Discover. It starts no
// process and never fails: what cannot be read is HealthUnknown with the
// reason.
func ReadHealth(ctx context.Context, h Host, d Drive) Health {
	switch {
	case d.State == "dead":
		return Health{Status: HealthCritical, Reasons: []string{"its controller is dead"}}
	case !d.Live():
		return Health{Status: HealthUnknown, Reasons: []string{"its controller is " + d.State}}
	}
	read := h.SMART
	if read == nil {
		read = readSMART
	}
	type answer struct {
		log SMART
		err error
	}
	device := tree(h.Root).path("/dev", d.liveController(h))
	got, err := bounded(ctx, h, device, func(ctx context.Context) answer {
		log, err := read(ctx, device)
		return answer{log, err}
	})
	if err := errors.Join(err, got.err); err != nil {
		return Health{Status: HealthUnknown, Reasons: []string{err.Error()}}
	}
	return judgeHealth(got.log)
}

// liveController is one that can be asked now.
func (d Drive) liveController(h Host) string {
	for _, c := range d.Controllers {
		if tree(h.Root).text("sys/class/nvme", c, "state") == stateLive {
			return c
		}
	}
	return d.Controllers[0]
}

func judgeHealth(log SMART) Health {
	h := Health{Status: HealthGood, SMART: &log}
	add := func(status HealthStatus, reason string) {
		h.Reasons = append(h.Reasons, reason)
		if h.Status != HealthCritical {
			h.Status = status
		}
	}
	for bit, w := range warnings {
		if log.CriticalWarning&(1<<bit) != 0 {
			add(w.status, w.text)
		}
	}
	if log.PercentageUsed >= 100 {
		add(HealthWarning, fmt.Sprintf("%d %% of its rated life is used", log.PercentageUsed))
	}
	if log.MediaErrors > 0 {
		add(HealthWarning, fmt.Sprintf("it has reported %d media errors", log.MediaErrors))
	}
	return h
}
