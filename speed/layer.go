package speed

// The volumes that layers lie on. They are also the ends of the volumes' names.
const (
	onThick = "thick"
	onThin  = "thin"
	onNew   = "new"  // thin, of which nothing is mapped
	onSnap  = "snap" // thin, written, with a snapshot while it is measured
)

// state is what a layer's target has to be in before a workload begins.
type state int

const (
	asIs state = iota
	unmapped
	shared
)

// Layer is a place that is measured.
type Layer struct {
	// Name is how it is asked for, Text what it is.
	Name, Text string
	volume     string
	state      state
	fs         string // the volume's filesystem
	thick      bool
	// sectors says that it is the drive, or a device on the drive, in the sectors of the thick volume.
	sectors bool
}

// Layers are all that there are, from the drive upwards.
var Layers = []Layer{
	{Name: "raw", Text: "the drive, in the thick volume's sectors", volume: onThick, thick: true, sectors: true},
	{Name: "linear", Text: "a bare dm-linear on the same sectors", volume: onThick, thick: true, sectors: true},
	{Name: "thick", Text: "thick volume", volume: onThick, thick: true},
	{Name: "thin", Text: "thin volume, written before", volume: onThin},
	{Name: "thin-new", Text: "thin volume, each write the first to its chunk", volume: onNew, state: unmapped},
	{Name: "thin-snap", Text: "thin volume, each write the first to its chunk after a snapshot", volume: onSnap, state: shared},
	{Name: "thick-ext4", Text: "ext4 in a thick volume", volume: "thick-ext4", fs: "ext4", thick: true},
	{Name: "thick-xfs", Text: "XFS in a thick volume", volume: "thick-xfs", fs: "xfs", thick: true},
	{Name: "thin-ext4", Text: "ext4 in a thin volume, written before", volume: "thin-ext4", fs: "ext4"},
	{Name: "thin-xfs", Text: "XFS in a thin volume, written before", volume: "thin-xfs", fs: "xfs"},
}

// runs says whether a workload can be run on the layer and tells something there: applications need files, and the first
// touch of a chunk is a write.
func (l Layer) runs(w Workload) bool {
	if w.OnFiles() {
		return l.fs != ""
	}
	return l.state == asIs || w.writesOnly()
}

// volumes are the volumes that the layers need, each once and thick ones first: they decide on which drive all lie.
func volumes(layers []Layer) []Layer {
	var thick, thin []Layer
	seen := map[string]bool{}
	for _, l := range layers {
		if seen[l.volume] {
			continue
		}
		seen[l.volume] = true
		if l.thick {
			thick = append(thick, l)
		} else {
			thin = append(thin, l)
		}
	}
	return append(thick, thin...)
}

// step is one measurement.
type step struct {
	round    int
	layer    Layer
	workload Workload
}

// plan is all measurements in their order: in each round every workload is run on one layer after the other, and with each
// round another layer is the first.
func plan(layers []Layer, workloads []Workload, rounds int) []step {
	var steps []step
	for round := range rounds {
		for _, w := range workloads {
			for i := range layers {
				if l := layers[(i+round)%len(layers)]; l.runs(w) {
					steps = append(steps, step{round, l, w})
				}
			}
		}
	}
	return steps
}
