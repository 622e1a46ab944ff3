package drive

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
