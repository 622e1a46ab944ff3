package lvmtest

// kernelPool is what a pool's metadata say, which LVM does not see.
type kernelPool struct {
	// thins are the chunks of each thin by their place in it.
	thins       map[int64]map[int64]int64
	owners      map[int64]int
	lastChunk   int64
	transaction int64
	damaged     bool
	// leaked counts the chunks that are used and that no thin has. A check that is
	// allowed to takes them back, and leaves them in the count.
	leaked int64
	leaks  bool
	// unwritable: the kernel could not write the metadata while it was up.
	unwritable bool
	held       bool
	mode       string // "" means what follows from its use
	needsCheck bool
	// ballast are blocks of metadata that nothing explains.
	ballast int64
}

func newKernelPool() *kernelPool {
	return &kernelPool{thins: map[int64]map[int64]int64{}, owners: map[int64]int{}}
}

// write maps the chunks of a thin's first bytes, each for itself alone, and
// says how many of the bytes found room.
func (k *kernelPool) write(id, bytes int64, pool *lv) int64 {
	chunks := k.thins[id]
	for at := int64(0); at*pool.chunk < bytes; at++ {
		old, mapped := chunks[at]
		if mapped && k.owners[old] == 1 {
			continue
		}
		if int64(len(k.owners)) >= pool.size/pool.chunk || pool.metaUsed() >= pool.metaTotal() {
			return at * pool.chunk
		}
		if mapped {
			k.owners[old]--
		}
		k.lastChunk++
		chunks[at], k.owners[k.lastChunk] = k.lastChunk, 1
	}
	return bytes
}

func (k *kernelPool) snapshot(id, origin int64) {
	chunks := map[int64]int64{}
	for at, chunk := range k.thins[origin] {
		chunks[at] = chunk
		k.owners[chunk]++
	}
	k.thins[id] = chunks
}

// clear unmaps every chunk of a thin.
func (k *kernelPool) clear(id int64) {
	for _, chunk := range k.thins[id] {
		if k.owners[chunk]--; k.owners[chunk] == 0 {
			delete(k.owners, chunk)
		}
	}
	if k.thins[id] != nil {
		k.thins[id] = map[int64]int64{}
	}
}

const metaBlock = 4096

// metaTotal and metaUsed count blocks of a pool's metadata: about a tenth is
// taken from the start, then one for each thin and for each 100 chunks.
func (v *lv) metaTotal() int64 { return v.part("_tmeta").size / metaBlock }

func (v *lv) metaUsed() int64 {
	used := v.metaTotal()/10 + 9 + v.kernel.ballast + int64(len(v.kernel.thins)) + int64(len(v.kernel.owners))/100
	return min(used, v.metaTotal())
}

func (v *lv) dataTotal() int64 { return v.size / v.chunk }

func (v *lv) dataUsed() int64 { return int64(len(v.kernel.owners)) + v.kernel.leaked }
