package hostrecord

import (
	"reflect"
	"testing"
	"time"
)

func TestForgetAndPut(t *testing.T) {
	rec := sample()
	before := sample()
	at := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	changed := rec
	if !changed.Forget("vg000001", at) || changed.Forget("vg000001", at) || changed.Forget("nosuchvg", at) {
		t.Error("forget told wrongly whether the VG was there")
	}
	if _, ok := changed.VG("vg000001"); ok || !changed.IsForgotten("vg000001") {
		t.Errorf("after forget: %+v", changed)
	}
	if err := changed.check(); err != nil {
		t.Error(err)
	}
	changed.Put(before.VGs[0])
	if vg, ok := changed.VG("vg000001"); !ok || changed.IsForgotten("vg000001") || !reflect.DeepEqual(vg, before.VGs[0]) {
		t.Errorf("after put: %+v", changed)
	}
	if !reflect.DeepEqual(rec, before) {
		t.Errorf("a copy was changed too: %+v", rec)
	}
}
