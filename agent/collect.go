package agent

import (
	"context"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/volume"
)

// storeCollector reads the store at each scrape.
type storeCollector struct{ agent *Agent }

// figure is one metric: what it is called and where it is read.
type figure[T any] struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(T) float64
}

func gauge[T any](labels []string, name, help string, read func(T) float64) figure[T] {
	return figure[T]{prometheus.NewDesc(name, help, labels, nil), prometheus.GaugeValue, read}
}

func counter[T any](labels []string, name, help string, read func(T) float64) figure[T] {
	return figure[T]{prometheus.NewDesc(name, help, labels, nil), prometheus.CounterValue, read}
}

var (
	readyDesc = prometheus.NewDesc("lvme_ready", "1 when the store is open and volumes are served.", nil, nil)
	storeDesc = prometheus.NewDesc("lvme_store_info", "The store key of this node; always 1.", []string{"store"}, nil)
	driveDesc = prometheus.NewDesc("lvme_drive_info", "A drive and what lvme says of it; always 1.",
		[]string{"drive", "name", "model", "serial", "firmware", "status", "class", "vg", "health"}, nil)

	poolLabels = []string{"vg", "class"}
	// driveLabels: only the name tells every two drives apart; some have no
	// identity, or another's.
	driveLabels = []string{"drive", "name"}
)

// poolFigures are of pools whose drives are here, but for the first two.
var poolFigures = []figure[volume.Pool]{
	gauge(poolLabels, "lvme_pool_away", "1 when the pool's drives are not in this node.", func(p volume.Pool) float64 { return one(p.Away) }),
	gauge(poolLabels, "lvme_pool_ok", "1 when the pool takes new volumes.", func(p volume.Pool) float64 { return one(p.Problem == "") }),
	gauge(poolLabels, "lvme_pool_filling", "1 when the thin pool or its metadata fills up, and still takes new volumes.", func(p volume.Pool) float64 { return one(p.Warning != "") }),
	gauge(poolLabels, "lvme_pool_reserve_bytes", "What is left of the volume group's reserve to extend the thin pool with.", func(p volume.Pool) float64 { return float64(p.Reserve) }),
	gauge(poolLabels, "lvme_pool_lent_bytes", "What the thin pool and its metadata have of the reserve.", func(p volume.Pool) float64 { return float64(p.Lent) }),
	gauge(poolLabels, "lvme_pool_bytes", "Size of the volume group.", func(p volume.Pool) float64 { return float64(p.Bytes) }),
	gauge(poolLabels, "lvme_pool_thin_bytes", "Size of the thin pool.", func(p volume.Pool) float64 { return float64(p.ThinBytes) }),
	gauge(poolLabels, "lvme_pool_thin_used_bytes", "What the thin pool holds.", func(p volume.Pool) float64 { return float64(p.ThinUsed) }),
	gauge(poolLabels, "lvme_pool_thin_committed_bytes", "What the thin volumes and snapshots may come to hold.", func(p volume.Pool) float64 { return float64(p.ThinCommitted) }),
	gauge(poolLabels, "lvme_pool_metadata_bytes", "Size of the thin pool's metadata.", func(p volume.Pool) float64 { return float64(p.MetadataBytes) }),
	gauge(poolLabels, "lvme_pool_metadata_used_bytes", "Used part of the thin pool's metadata.", func(p volume.Pool) float64 { return float64(p.MetadataUsed) }),
	gauge(poolLabels, "lvme_pool_thick_bytes", "Share for thick volumes.", func(p volume.Pool) float64 { return float64(p.ThickBytes) }),
	gauge(poolLabels, "lvme_pool_thick_used_bytes", "What thick volumes take of their share.", func(p volume.Pool) float64 { return float64(p.ThickUsed) }),
	gauge(poolLabels, "lvme_pool_wiping_bytes", "What is being wiped before it can be used again.", func(p volume.Pool) float64 { return float64(p.Wiping) }),
	gauge(poolLabels, "lvme_pool_mirror_bytes", "Size of the pool's mirrors that are active; 0 for one that is not mirrored.", func(p volume.Pool) float64 { return float64(p.Mirror.Bytes) }),
	gauge(poolLabels, "lvme_pool_mirror_synced_bytes", "Part of the mirrors that is alike on the legs that work.", func(p volume.Pool) float64 { return float64(p.Mirror.Synced) }),
	gauge(poolLabels, "lvme_pool_mirrors_degraded", "Mirrors that work with one leg.", func(p volume.Pool) float64 { return float64(p.Mirror.Failed) }),
	gauge(poolLabels, "lvme_pool_strange_lvs", "Logical volumes in the group that lvme did not make.", func(p volume.Pool) float64 { return float64(len(p.Strange)) }),
	gauge(poolLabels, "lvme_volumes", "Volumes in the pool.", func(p volume.Pool) float64 { return float64(p.Volumes) }),
	gauge(poolLabels, "lvme_snapshots", "Snapshots in the pool.", func(p volume.Pool) float64 { return float64(p.Snapshots) }),
}

// awayFigures is how many of poolFigures mean something of a pool that is away.
const awayFigures = 2

var smartFigures = []figure[drive.SMART]{
	gauge(driveLabels, "lvme_drive_critical_warning", "Critical warning bits of the drive's SMART log.", func(s drive.SMART) float64 { return float64(s.CriticalWarning) }),
	gauge(driveLabels, "lvme_drive_temperature_celsius", "Temperature of the drive.", func(s drive.SMART) float64 { return float64(s.TemperatureC) }),
	gauge(driveLabels, "lvme_drive_available_spare_ratio", "Spare blocks left, of 1.", func(s drive.SMART) float64 { return float64(s.AvailableSpare) / 100 }),
	gauge(driveLabels, "lvme_drive_used_life_ratio", "Rated life used; may exceed 1.", func(s drive.SMART) float64 { return float64(s.PercentageUsed) / 100 }),
	counter(driveLabels, "lvme_drive_media_errors_total", "Media errors in the drive's life.", func(s drive.SMART) float64 { return float64(s.MediaErrors) }),
	counter(driveLabels, "lvme_drive_unsafe_shutdowns_total", "Power losses without notice in the drive's life.", func(s drive.SMART) float64 { return float64(s.UnsafeShutdowns) }),
	counter(driveLabels, "lvme_drive_power_on_hours_total", "Hours that the drive was powered.", func(s drive.SMART) float64 { return float64(s.PowerOnHours) }),
	counter(driveLabels, "lvme_drive_read_bytes_total", "Bytes read in the drive's life.", func(s drive.SMART) float64 { return float64(s.BytesRead) }),
	counter(driveLabels, "lvme_drive_written_bytes_total", "Bytes written in the drive's life.", func(s drive.SMART) float64 { return float64(s.BytesWritten) }),
}

var driveBytes = gauge(driveLabels, "lvme_drive_bytes", "Size of the drive.", func(d drive.Drive) float64 { return float64(d.Bytes) })

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// Describe implements prometheus.Collector.
func (storeCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- readyDesc
	ch <- storeDesc
	ch <- driveDesc
	ch <- driveBytes.desc
	for _, f := range poolFigures {
		ch <- f.desc
	}
	for _, f := range smartFigures {
		ch <- f.desc
	}
}

// Collect implements prometheus.Collector.
func (c storeCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.agent.Store()
	ch <- prometheus.MustNewConstMetric(readyDesc, prometheus.GaugeValue, one(s != nil))
	if s == nil {
		return
	}
	ch <- prometheus.MustNewConstMetric(storeDesc, prometheus.GaugeValue, 1, s.Key())
	for _, p := range s.Pools(context.Background()) {
		collectPool(ch, p)
	}
	for _, v := range s.Verdicts() {
		collectDrive(ch, v)
	}
}

func collectPool(ch chan<- prometheus.Metric, p volume.Pool) {
	figures := poolFigures
	if p.Away {
		figures = poolFigures[:awayFigures]
	}
	for _, f := range figures {
		ch <- prometheus.MustNewConstMetric(f.desc, f.kind, f.read(p), label(p.VG), label(p.Class))
	}
}

func collectDrive(ch chan<- prometheus.Metric, v drive.Verdict) {
	d := v.Drive
	id, name := label(d.ID), label(d.Name)
	ch <- prometheus.MustNewConstMetric(driveDesc, prometheus.GaugeValue, 1,
		id, name, label(d.Model), label(d.Serial), label(d.Firmware), string(v.Status), label(v.Class), label(v.VG), string(d.Health.Status))
	ch <- prometheus.MustNewConstMetric(driveBytes.desc, driveBytes.kind, driveBytes.read(d), id, name)
	if d.Health.SMART == nil {
		return
	}
	for _, f := range smartFigures {
		ch <- prometheus.MustNewConstMetric(f.desc, f.kind, f.read(*d.Health.SMART), id, name)
	}
}

// label makes a label of what a drive says of itself, which may be any bytes.
func label(s string) string { return strings.ToValidUTF8(strings.TrimSpace(s), "?") }
