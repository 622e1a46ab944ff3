package dm

import (
	"encoding/binary"
	"slices"
	"testing"
)

func TestPartsOfADevice(t *testing.T) {
	two := binary.NativeEndian.AppendUint32(nil, 2)
	two = append(two, 0, 0, 0, 0)
	two = binary.NativeEndian.AppendUint64(two, 259<<8|1)
	two = binary.NativeEndian.AppendUint64(two, 253<<8|7)
	got, err := parseDeps(two)
	if want := []Dep{{Major: 259, Minor: 1}, {Major: 253, Minor: 7}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if got, err := parseDeps(nil); err != nil || len(got) != 0 {
		t.Errorf("no table: got %v, %v", got, err)
	}
	if got, err := parseDeps(two[:20]); err == nil {
		t.Errorf("two devices in 20 bytes: got %v and no error", got)
	}
}
