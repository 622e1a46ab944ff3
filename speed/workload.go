package speed

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// direction says which figures of a workload count.
type direction int

const (
	reads direction = 1 << iota
	writes
	syncs // the latency is that of fdatasync
)

// Workload is something that fio does.
type Workload struct {
	// Name is how it is asked for, Text what it is.
	Name, Text string
	counts     direction

	// On a device, or a file of the size of one: rw, block size, depth, and whether every job does it.
	rw    string
	block int64
	depth int
	wide  bool

	// files are the jobs of a workload that needs a filesystem, each with the options that it adds. The sizes of their files
	// are parts of what there is, see fileSize.
	files []fileJob
}

// fileJob is a job of several that work on files of their own.
type fileJob struct {
	name    string
	part    int64 // the job's files together have the part-th part of the volume
	jobs    int64
	options []string
}

const (
	kib = 1 << 10
	mib = 1 << 20
)

// Workloads are all that there are, in the order in which they are run.
var Workloads = []Workload{
	{Name: "randread-4k", Text: "4 KiB random reads, one at a time", counts: reads, rw: "randread", block: 4 * kib, depth: 1},
	{Name: "randwrite-4k", Text: "4 KiB random writes, one at a time", counts: writes, rw: "randwrite", block: 4 * kib, depth: 1},
	{Name: "randread-4k-deep", Text: "4 KiB random reads, 32 at a time in each job", counts: reads, rw: "randread", block: 4 * kib, depth: 32, wide: true},
	{Name: "randwrite-4k-deep", Text: "4 KiB random writes, 32 at a time in each job", counts: writes, rw: "randwrite", block: 4 * kib, depth: 32, wide: true},
	{Name: "read-128k", Text: "sequential reads of 128 KiB, 8 at a time", counts: reads, rw: "read", block: 128 * kib, depth: 8},
	{Name: "write-128k", Text: "sequential writes of 128 KiB, 8 at a time", counts: writes, rw: "write", block: 128 * kib, depth: 8},
	{Name: "read-1m", Text: "sequential reads of 1 MiB, 4 at a time", counts: reads, rw: "read", block: mib, depth: 4},
	{Name: "write-1m", Text: "sequential writes of 1 MiB, 4 at a time", counts: writes, rw: "write", block: mib, depth: 4},
	{Name: "fdatasync-4k", Text: "4 KiB sequential writes, fdatasync after each", counts: writes | syncs, rw: "write", block: 4 * kib, depth: 1},
	{Name: "kafka", Text: "16 append streams of 16 KiB through the page cache, fsync after each 8 MiB", counts: writes, files: []fileJob{
		{"append", 8, 16, []string{"--rw=write", "--bs=16k", "--fsync=512", "--fallocate=none", "--create_on_open=1"}},
	}},
	{Name: "hdfs", Text: "one large file written in blocks of 64 MiB, another read, 1 MiB at a time through the page cache", counts: reads | writes, files: []fileJob{
		{"write", 8, 1, []string{"--rw=write", "--bs=1m", "--fsync=64", "--fallocate=none", "--create_on_open=1"}},
		{"read", 8, 1, []string{"--rw=read", "--bs=1m"}},
	}},
	{Name: "training", Text: "4 readers of shards of 4 MiB in shuffled order, again and again, and a checkpoint of 32 MiB each second", counts: reads, files: []fileJob{
		{"read", 8, 4, []string{"--rw=randread:16", "--bs=256k"}},
		{"checkpoint", 16, 1, []string{"--rw=write", "--bs=1m", "--fsync=32", "--thinktime=1s", "--thinktime_blocks=32", "--overwrite=1"}},
	}},
	{Name: "wal", Text: "8 KiB appended to a recycled log file through the page cache, fdatasync after each", counts: writes | syncs, files: []fileJob{
		{"log", 32, 1, []string{"--rw=write", "--bs=8k", "--fdatasync=1", "--overwrite=1"}},
	}},
}

// OnFiles says that the workload needs a filesystem.
func (w Workload) OnFiles() bool { return w.files != nil }

// writesOnly says that the workload changes what it works on and reads nothing.
func (w Workload) writesOnly() bool { return w.counts&reads == 0 }

// target is a place for a workload.
type target struct {
	path string // a device, a file, or a directory for workloads on files
	// offset and length are the part of it that may be read and written.
	offset, length int64
	// chunk is not 0 where each chunk is to be written for the first time: each write that is smaller than a chunk then goes
	// to another one, and the workload ends at the end of the target.
	chunk int64
}

// arguments are those of fio for the workload at a target.
func (w Workload) arguments(t target, o Options, round int) []string {
	args := []string{
		"--output-format=json", "--eta=never", "--exitall_on_error", "--thread", "--group_reporting", "--percentile_list=50:99:99.9",
		"--norandommap", "--randseed=" + strconv.Itoa(round+1), "--runtime=" + millis(o.Span),
	}
	if w.OnFiles() {
		return append(args, w.onFiles(t, o)...)
	}
	return append(args, w.onDevice(t, o)...)
}

// escape writes a path for fio, which takes a colon for the end of one.
func escape(path string) string { return strings.ReplaceAll(path, ":", `\:`) }

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) + "ms" }

// timed has fio work for the whole time, and some before of which it does not tell: at its beginning a drive, as a throttle,
// has something left over from its rest.
func timed(o Options) []string { return []string{"--time_based", "--ramp_time=" + millis(o.Span/4)} }

// onDevice goes past the page cache: what is left in it of a drive would be written when the sectors may have another owner.
func (w Workload) onDevice(t target, o Options) []string {
	jobs := int64(1)
	if w.wide {
		jobs = int64(o.Jobs)
	}
	args := []string{
		"--name=" + w.Name, "--filename=" + escape(t.path), "--direct=1", "--invalidate=0", "--bs=" + strconv.FormatInt(w.block, 10),
		"--numjobs=" + strconv.FormatInt(jobs, 10), "--offset=" + strconv.FormatInt(t.offset, 10),
	}
	if w.counts&syncs != 0 {
		args = append(args, "--ioengine=psync", "--fdatasync=1")
	} else {
		args = append(args, "--ioengine=libaio", "--iodepth="+strconv.Itoa(w.depth))
	}
	if t.chunk == 0 {
		return append(append(args, "--rw="+w.rw, "--size="+strconv.FormatInt(t.length, 10)), timed(o)...)
	}
	part := t.length / jobs / t.chunk * t.chunk
	return append(args, "--rw="+w.once(t.chunk), "--size="+strconv.FormatInt(part, 10), "--offset_increment="+strconv.FormatInt(part, 10))
}

// once is the pattern that writes to each chunk: small writes one to a chunk, large ones all of it.
func (w Workload) once(chunk int64) string {
	if w.block > 64*kib || w.block >= chunk {
		return "write"
	}
	return fmt.Sprintf("write:%d", chunk-w.block)
}

// onFiles leaves the page cache to do its work, and no file behind.
func (w Workload) onFiles(t target, o Options) []string {
	args := append([]string{"--directory=" + escape(t.path), "--ioengine=psync", "--unlink=1"}, timed(o)...)
	for _, j := range w.files {
		args = append(args, "--name="+w.Name+"-"+j.name, "--numjobs="+strconv.FormatInt(j.jobs, 10), "--size="+strconv.FormatInt(t.fileSize(j), 10))
		args = append(args, j.options...)
	}
	return args
}

// fileSize is the size of each file of a job.
func (t target) fileSize(j fileJob) int64 { return max(t.length/j.part/j.jobs/mib*mib, mib) }

// fill is fio's job that writes all of a target once.
func fill(t target) []string {
	return []string{
		"--output-format=json", "--eta=never", "--name=fill", "--filename=" + escape(t.path), "--direct=1", "--invalidate=0", "--ioengine=libaio",
		"--rw=write", "--bs=1m", "--iodepth=4", "--offset=" + strconv.FormatInt(t.offset, 10), "--size=" + strconv.FormatInt(t.length, 10),
	}
}

// Pick picks those of all whose names are wanted, in their own order; nothing wanted is everything.
func Pick[T any](all []T, name func(T) string, wanted []string) ([]T, error) {
	if len(wanted) == 0 {
		return all, nil
	}
	left := map[string]bool{}
	for _, w := range wanted {
		left[w] = true
	}
	var picked []T
	var known []string
	for _, one := range all {
		known = append(known, name(one))
		if left[name(one)] {
			picked = append(picked, one)
			delete(left, name(one))
		}
	}
	for w := range left {
		return nil, fmt.Errorf("%q is none of %s", w, strings.Join(known, ", "))
	}
	return picked, nil
}
