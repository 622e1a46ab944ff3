package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/lvme/lvme/test/bed"
)

// driveList is the drives that --drive flags describe.
type driveList []bed.Drive

func (l *driveList) String() string {
	return fmt.Sprint([]bed.Drive(*l))
}

func (l *driveList) Set(text string) error {
	var d bed.Drive
	for field := range strings.SplitSeq(text, ",") {
		key, value, _ := strings.Cut(field, "=")
		if err := setDrive(&d, key, value); err != nil {
			return fmt.Errorf("%q: %w", field, err)
		}
	}
	*l = append(*l, d)
	return nil
}

// setDrive sets one property of a drive.
func setDrive(d *bed.Drive, key, value string) (err error) {
	switch key {
	case "serial":
		d.Serial = value
	case "size":
		err = (*size)(&d.Size).Set(value)
	case "block":
		d.LogicalBlockSize, err = strconv.Atoi(value)
	case "physical":
		d.PhysicalBlockSize, err = strconv.Atoi(value)
	case "eui64":
		d.EUI64, err = strconv.ParseUint(strings.TrimPrefix(value, "0x"), 16, 64)
	case "nguid":
		d.NGUID = value
	case "uuid":
		d.UUID = value
	case "numa":
		d.NUMANode, err = strconv.Atoi(value)
	default:
		err = errors.New("no such property of a drive")
	}
	return err
}

// size is a number of bytes with an optional unit.
type size int64

func (s *size) String() string {
	return strconv.FormatInt(int64(*s), 10)
}

func (s *size) Set(text string) error {
	const units = "KMGT"
	shift := 0
	if i := strings.IndexByte(units, text[max(0, len(text)-1)]); text != "" && i >= 0 {
		shift, text = 10*(i+1), text[:len(text)-1]
	}
	n, err := strconv.ParseInt(text, 10, 64)
	*s = size(n << shift)
	return err
}
