package lvm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// Settings are what can be changed of a VG and its pool by hand and what a
// report leaves out.
type Settings struct {
	// Autoactivation says that the host may activate the VG when it boots.
	Autoactivation bool
	// Discards is what the pool does with them: passdown, nopassdown or ignore.
	Discards string
}

// Settings asks for them. One command.
func (l *LVM) Settings(ctx context.Context, vg VG, pool string) (Settings, error) {
	s, err := l.settings(ctx, vg, pool)
	if err != nil {
		return Settings{}, fmt.Errorf("settings of VG %s: %w", vg.Name, err)
	}
	return s, nil
}

func (l *LVM) settings(ctx context.Context, vg VG, pool string) (Settings, error) {
	path, err := vg.path(pool)
	if err != nil {
		return Settings{}, err
	}
	if err := checkDevices(vg.Devices); err != nil {
		return Settings{}, err
	}
	out, err := l.query(ctx, vg.Devices, "lvs", "--reportformat", "json", "-o", "vg_autoactivation,discards", path)
	if err != nil {
		return Settings{}, err
	}
	var doc struct {
		Report []struct {
			LV []row `json:"lv"`
		}
	}
	if i := bytes.IndexByte(out, '{'); i >= 0 {
		err = json.NewDecoder(bytes.NewReader(out[i:])).Decode(&doc)
	}
	if err != nil || len(doc.Report) != 1 || len(doc.Report[0].LV) != 1 {
		return Settings{}, fmt.Errorf("%w: %.200q", errors.Join(ErrReport, err), out)
	}
	p, r := &parser{}, doc.Report[0].LV[0]
	return Settings{Autoactivation: p.flag(r, "vg_autoactivation"), Discards: p.text(r, "discards")}, p.err
}

// SetZeroing has an existing pool zero each new chunk before a thin gets it. One
// command.
func (l *LVM) SetZeroing(ctx context.Context, vg VG, pool string) error {
	path, err := vg.path(pool)
	if err != nil {
		return fmt.Errorf("set pool to zero new chunks: %w", err)
	}
	err = l.change(ctx, vg, "lvchange", "--zero", "y", path)
	if err != nil && !errors.Is(err, errNoChange) {
		return fmt.Errorf("set pool %s to zero new chunks: %w", path, err)
	}
	return nil
}
