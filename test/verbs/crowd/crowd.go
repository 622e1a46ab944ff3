// Package crowd makes one thin volume into thousands without a command for each:
// it rewrites the two texts that say what is in a pool, LVM's copy of a volume
// group's metadata and the dump of the pool's own. It runs nothing and writes
// nowhere: whoever has the texts restores them.
package crowd

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Twins says which thins are wanted beside the one called LV.
type Twins struct {
	Pool, LV string
	Count    int
	// Rename makes the name of the i-th out of LV, and its tags out of those of LV.
	Rename func(i int, text string) string
	// First numbers the UUIDs of the twins, which may be given once in a group.
	First int
}

// Numbers are what both texts must agree in.
type Numbers struct {
	// Transaction is the pool's after the change, FirstID the kernel's number of
	// the first twin.
	Transaction, FirstID int64
}

var (
	deviceID    = regexp.MustCompile(`(?m)^\t+device_id = (\d+)`)
	transaction = regexp.MustCompile(`(?m)^(\t+transaction_id = )(\d+)`)
	identifier  = regexp.MustCompile(`(?m)^(\t+id = )"[A-Za-z0-9-]+"`)
)

// InGroup adds the twins to a copy of a volume group's metadata, as vgcfgbackup
// writes it.
func InGroup(text string, t Twins) (string, Numbers, error) {
	pool, err := block(text, t.Pool)
	if err != nil {
		return "", Numbers{}, err
	}
	lv, err := block(text, t.LV)
	if err != nil {
		return "", Numbers{}, err
	}
	now := transaction.FindStringSubmatch(pool)
	if now == nil || !deviceID.MatchString(lv) {
		return "", Numbers{}, fmt.Errorf("%s is no thin pool, or %s no thin of one", t.Pool, t.LV)
	}
	before, err := strconv.ParseInt(now[2], 10, 64)
	if err != nil {
		return "", Numbers{}, err
	}
	last, err := highestID(text)
	if err != nil {
		return "", Numbers{}, err
	}
	n := Numbers{Transaction: before + int64(t.Count), FirstID: last + 1}
	var twins strings.Builder
	for i := range t.Count {
		twins.WriteString(t.twin(lv, i, n.FirstID+int64(i)))
	}
	grown := transaction.ReplaceAllString(pool, "${1}"+strconv.FormatInt(n.Transaction, 10))
	return strings.Replace(strings.Replace(text, pool, grown, 1), lv, lv+twins.String(), 1), n, nil
}

// twin is the description of the i-th.
func (t Twins) twin(lv string, i int, id int64) string {
	lv = t.Rename(i, lv)
	lv = identifier.ReplaceAllString(lv, fmt.Sprintf(`${1}"CROWD0-0000-0000-0000-0000-0000-%06d"`, t.First+i))
	at := deviceID.FindStringSubmatchIndex(lv)
	return lv[:at[2]] + strconv.FormatInt(id, 10) + lv[at[3]:]
}

// block is the description of one LV, with the blank line behind it.
func block(text, lv string) (string, error) {
	begin := strings.Index(text, "\n\t\t"+lv+" {\n")
	if begin < 0 {
		return "", fmt.Errorf("the group has no LV %s", lv)
	}
	begin++
	end := strings.Index(text[begin:], "\n\t\t}\n")
	if end < 0 {
		return "", fmt.Errorf("the description of %s does not end", lv)
	}
	end += begin + len("\n\t\t}\n")
	if strings.HasPrefix(text[end:], "\n") {
		end++
	}
	return text[begin:end], nil
}

func highestID(text string) (highest int64, err error) {
	for _, m := range deviceID.FindAllStringSubmatch(text, -1) {
		id, err := strconv.ParseInt(m[1], 10, 64)
		if err != nil {
			return 0, err
		}
		highest = max(highest, id)
	}
	return highest, nil
}

var superblock = regexp.MustCompile(`(<superblock [^>]*transaction=")\d+(")`)

// InPool adds as many empty thins to the dump of a pool's metadata, as thin_dump
// writes it.
func InPool(xml string, count int, n Numbers) (string, error) {
	end := strings.LastIndex(xml, "</superblock>")
	if end < 0 || !superblock.MatchString(xml) {
		return "", errors.New("the dump is none of a pool's metadata")
	}
	var devices strings.Builder
	for i := range int64(count) {
		fmt.Fprintf(&devices, "  <device dev_id=\"%d\" mapped_blocks=\"0\" transaction=\"0\" creation_time=\"0\" snap_time=\"0\">\n  </device>\n", n.FirstID+i)
	}
	xml = xml[:end] + devices.String() + xml[end:]
	return superblock.ReplaceAllString(xml, "${1}"+strconv.FormatInt(n.Transaction, 10)+"${2}"), nil
}

// Map has an empty thin of the dump map so many blocks from its beginning, which
// lie one behind the other from the data's block first on.
func Map(xml string, id, first, blocks int64) (string, error) {
	head := regexp.MustCompile(fmt.Sprintf(`(<device dev_id="%d" mapped_blocks=")0("[^>]*>)`, id))
	if !head.MatchString(xml) {
		return "", fmt.Errorf("the dump has no empty thin %d", id)
	}
	return head.ReplaceAllString(xml, fmt.Sprintf("${1}%d${2}\n    <range_mapping origin_begin=\"0\" data_begin=\"%d\" length=\"%d\" time=\"0\"/>", blocks, first, blocks)), nil
}

// IDOf is the kernel's number of a thin by a copy of its group's metadata.
func IDOf(text, lv string) (int64, error) {
	b, err := block(text, lv)
	if err != nil {
		return 0, err
	}
	m := deviceID.FindStringSubmatch(b)
	if m == nil {
		return 0, fmt.Errorf("%s is no thin", lv)
	}
	return strconv.ParseInt(m[1], 10, 64)
}
