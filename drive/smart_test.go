package drive

import (
	"encoding/binary"
	"math"
	"reflect"
	"testing"
	"unsafe"
)

func TestParseSMART(t *testing.T) {
	log := make([]byte, smartLogBytes)
	log[0] = 0x05
	binary.LittleEndian.PutUint16(log[1:], 273+41)
	log[3], log[4], log[5] = 9, 10, 103
	for off, n := range map[int]uint64{32: 2, 48: math.MaxUint64 / 1000, 112: 7, 128: 8760, 144: 3, 160: 4, 176: 5} {
		binary.LittleEndian.PutUint64(log[off:], n)
	}
	binary.LittleEndian.PutUint64(log[176+8:], 1) // past 64 bits
	got, err := parseSMART(log)
	want := SMART{
		CriticalWarning: 5, TemperatureC: 41, AvailableSpare: 9, SpareThreshold: 10, PercentageUsed: 103,
		BytesRead: 1024000, BytesWritten: math.MaxUint64, PowerCycles: 7, PowerOnHours: 8760,
		UnsafeShutdowns: 3, MediaErrors: 4, ErrorLogEntries: math.MaxUint64,
	}
	if err != nil || got != want {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	if _, err := parseSMART(log[:511]); err == nil {
		t.Error("a short log was read")
	}
}

// The number of the ioctl carries the size of its argument.
func TestAdminCmdSize(t *testing.T) {
	if got := unsafe.Sizeof(adminCmd{}); got != ioctlAdminCmd>>16&0x3FFF {
		t.Errorf("struct of %d bytes, the kernel's has %d", got, ioctlAdminCmd>>16&0x3FFF)
	}
}

func TestJudgeHealth(t *testing.T) {
	for _, tc := range []struct {
		name    string
		log     SMART
		want    HealthStatus
		reasons []string
	}{
		{"new", SMART{AvailableSpare: 100}, HealthGood, nil},
		{"worn and hot", SMART{PercentageUsed: 100, CriticalWarning: 1 << 1}, HealthWarning,
			[]string{"temperature is outside the drive's limits", "100 % of its rated life is used"}},
		{"media errors", SMART{MediaErrors: 3}, HealthWarning, []string{"it has reported 3 media errors"}},
		{"failing, and a warning after it", SMART{CriticalWarning: 1 << 3, MediaErrors: 1}, HealthCritical,
			[]string{"the drive has put its media into read-only mode", "it has reported 1 media errors"}},
		{"reserved bits mean nothing", SMART{CriticalWarning: 1<<6 | 1<<7}, HealthGood, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := judgeHealth(tc.log)
			if got.Status != tc.want || !reflect.DeepEqual(got.Reasons, tc.reasons) || *got.SMART != tc.log {
				t.Errorf("got %+v", got)
			}
		})
	}
}
