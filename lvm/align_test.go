package lvm_test

import "unsafe"

// aligned is where in b the first page begins.
func aligned(b []byte) int {
	const page = 4096
	return int(-uintptr(unsafe.Pointer(&b[0])) & (page - 1))
}
