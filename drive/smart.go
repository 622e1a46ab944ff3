package drive

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The Get Log Page command, NVM Express Base Specification 2.0, 5.16.
const (
	ioctlAdminCmd  = 0xC0484E41 // _IOWR('N', 0x41, struct nvme_admin_cmd), linux/nvme_ioctl.h
	opGetLogPage   = 0x02
	logSMART       = 0x02
	allNamespaces  = 0xFFFFFFFF
	smartLogBytes  = 512
	smartTimeoutMS = 5000
	kelvin         = 273
	dataUnit       = 512 * 1000 // bytes; the log counts thousands of 512-byte units
)

// adminCmd is struct nvme_admin_cmd of linux/nvme_ioctl.h.
type adminCmd struct {
	opcode, flags                            uint8
	_                                        uint16
	nsid                                     uint32
	_, _                                     uint32
	metadata, addr                           uint64
	metadataLen, dataLen                     uint32
	cdw10, cdw11, cdw12, cdw13, cdw14, cdw15 uint32
	timeoutMS, result                        uint32
}

// readSMART reads the SMART log through the controller's character device.
func readSMART(_ context.Context, device string) (SMART, error) {
	f, err := os.OpenFile(device, os.O_RDONLY, 0)
	if err != nil {
		return SMART{}, fmt.Errorf("open controller: %w", err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	log := make([]byte, smartLogBytes)
	var pin runtime.Pinner // the kernel is given the address as a number
	pin.Pin(&log[0])
	defer pin.Unpin()
	cmd := adminCmd{
		opcode: opGetLogPage, nsid: allNamespaces,
		addr: uint64(uintptr(unsafe.Pointer(&log[0]))), dataLen: smartLogBytes,
		cdw10:     (smartLogBytes/4-1)<<16 | logSMART,
		timeoutMS: smartTimeoutMS,
	}
	status, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), ioctlAdminCmd, uintptr(unsafe.Pointer(&cmd)))
	switch {
	case errno != 0:
		return SMART{}, fmt.Errorf("get SMART log: %w", errno)
	case status != 0:
		return SMART{}, fmt.Errorf("get SMART log: the drive answers status %#x", status)
	}
	return parseSMART(log)
}

// parseSMART reads the SMART / Health Information log page.
func parseSMART(log []byte) (SMART, error) {
	if len(log) < smartLogBytes {
		return SMART{}, errors.New("SMART log is too short")
	}
	return SMART{
		CriticalWarning: log[0],
		TemperatureC:    int(binary.LittleEndian.Uint16(log[1:])) - kelvin,
		AvailableSpare:  int(log[3]),
		SpareThreshold:  int(log[4]),
		PercentageUsed:  int(log[5]),
		BytesRead:       times(counter(log[32:]), dataUnit),
		BytesWritten:    times(counter(log[48:]), dataUnit),
		PowerCycles:     counter(log[112:]),
		PowerOnHours:    counter(log[128:]),
		UnsafeShutdowns: counter(log[144:]),
		MediaErrors:     counter(log[160:]),
		ErrorLogEntries: counter(log[176:]),
	}, nil
}

// counter reads a 128-bit counter; what does not fit stays at the top.
func counter(b []byte) uint64 {
	if binary.LittleEndian.Uint64(b[8:]) != 0 {
		return math.MaxUint64
	}
	return binary.LittleEndian.Uint64(b)
}

func times(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	if high != 0 {
		return math.MaxUint64
	}
	return low
}
