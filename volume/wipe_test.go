package volume

import (
	"testing"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/lvm/lvmtest"
)

// TestWipeAfterFailedRename: the command that deletes a thick volume takes
// effect and is seen to fail. The volume is wiped all the same, and its room is
// back.
func TestWipeAfterFailedRename(t *testing.T) {
	r := fakeRig(t)
	s := r.furnished(t, fastClass(drive.PerDrive, 30, 8))
	before, err := s.Capacity(t.Context(), "", Thick)
	must(t, err)
	v := mustCreate(t, s, CreateSpec{Name: "a", Type: Thick, Mode: Block, Size: size(64 << 20)})
	r.runner.(*lvmtest.Fake).Inject(lvmtest.Fault{Verb: "lvrename", After: true})
	if err := s.Delete(t.Context(), v.Key); err == nil {
		t.Fatal("the delete did not fail")
	}
	must(t, s.Delete(t.Context(), v.Key)) // as its caller does
	eventually(t, "the room is back", func() bool {
		c, err := s.Capacity(t.Context(), "", Thick)
		return err == nil && c == before
	})
}
