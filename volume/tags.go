package volume

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// tagPrefix begins every tag of ours. docs/on-disk-format.md is the
// specification of what follows.
const tagPrefix = "lvme:"

// The tags of an LV.
const (
	tagVolume   = "volume"   // escaped CSI name; the LV is a volume
	tagSnapshot = "snapshot" // escaped CSI name; the LV is a snapshot
	tagState    = "state"
	tagMode     = "mode"
	tagFS       = "fs"
	tagProfile  = "profile"
	tagMkfs     = "mkfs"     // escaped, joined by spaces
	tagSource   = "source"   // LV it was made from, in the same VG
	tagCreated  = "created"  // Unix time in seconds
	tagReserved = "reserved" // bytes a snapshot counts against its pool
	tagTarget   = "target"   // bytes a larger copy must still grow to
)

// The tags of a VG.
const (
	tagStore   = "store" // the store key
	tagClass   = "class"
	tagNumber  = "number" // of the pool within its class and store
	tagLayout  = "layout"
	tagThin    = "thin"    // share in per cent
	tagThick   = "thick"   // share in per cent
	tagReserve = "reserve" // share in per cent
	tagStripe  = "stripe"  // bytes on one drive before the next one's turn
	tagChunk   = "chunk"   // bytes of a chunk of its thin pool
	tagClean   = "clean"   // value "yes": every free extent reads as zeros
)

// tag makes one tag.
func tag(key, value string) string { return tagPrefix + key + "=" + value }

// tagMap reads the tags that are ours. Tags of others are none of our business.
func tagMap(tags []string) (map[string]string, error) {
	m := make(map[string]string, len(tags))
	var errs []error
	for _, t := range tags {
		rest, ours := strings.CutPrefix(t, tagPrefix)
		if !ours {
			continue
		}
		key, value, _ := strings.Cut(rest, "=")
		if have, twice := m[key]; twice && have != value {
			errs = append(errs, fmt.Errorf("tag %s stands twice, with %q and %q", tagPrefix+key, have, value))
		}
		m[key] = value
	}
	return m, errors.Join(errs...)
}

// record is what the tags of a volume's or a snapshot's LV say.
type record struct {
	name     string
	snapshot bool
	state    State
	mode     Mode
	fsType   string
	profile  string
	mkfs     []string
	source   string // LV name, "" for none
	created  time.Time
	reserved int64
	target   int64
}

// tags writes the record.
func (r record) tags() []string {
	kind := tagVolume
	if r.snapshot {
		kind = tagSnapshot
	}
	tags := []string{
		tag(kind, escape(r.name)), tag(tagState, string(r.state)), tag(tagMode, string(r.mode)),
		tag(tagCreated, strconv.FormatInt(r.created.Unix(), 10)),
	}
	add := func(key, value string) {
		if value != "" {
			tags = append(tags, tag(key, value))
		}
	}
	add(tagFS, r.fsType)
	add(tagProfile, r.profile)
	add(tagMkfs, escape(strings.Join(r.mkfs, " ")))
	add(tagSource, r.source)
	if r.snapshot {
		add(tagReserved, strconv.FormatInt(r.reserved, 10))
	}
	if r.target > 0 {
		add(tagTarget, strconv.FormatInt(r.target, 10))
	}
	return tags
}

// parseRecord reads the record of an LV. The error says that the LV is none
// that lvme made, or that somebody changed its tags.
func parseRecord(tags []string) (record, error) {
	m, err := tagMap(tags)
	if err != nil {
		return record{}, err
	}
	p := tagParser{tags: m}
	r := record{
		state: State(m[tagState]), mode: Mode(m[tagMode]), fsType: m[tagFS], profile: m[tagProfile], source: m[tagSource],
		created: time.Unix(p.number(tagCreated), 0).UTC(), reserved: p.number(tagReserved), target: p.number(tagTarget),
	}
	_, isVolume := m[tagVolume]
	_, r.snapshot = m[tagSnapshot]
	if isVolume == r.snapshot {
		return record{}, fmt.Errorf("one of the tags %s and %s is wanted", tagPrefix+tagVolume, tagPrefix+tagSnapshot)
	}
	r.name = p.text(tagVolume) + p.text(tagSnapshot)
	if mkfs := p.text(tagMkfs); mkfs != "" {
		r.mkfs = strings.Split(mkfs, " ")
	}
	p.oneOf(tagState, string(Fresh), string(Formatting), string(Formatted), string(Raw), string(Quarantined))
	p.oneOf(tagMode, string(Filesystem), string(Block))
	return r, p.err
}

// tagParser reads values and keeps the first fault.
type tagParser struct {
	tags map[string]string
	err  error
}

func (p *tagParser) fail(key, why string) {
	if p.err == nil {
		p.err = fmt.Errorf("tag %s=%q: %s", tagPrefix+key, p.tags[key], why)
	}
}

func (p *tagParser) number(key string) int64 {
	value, ok := p.tags[key]
	if !ok {
		return 0
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 {
		p.fail(key, "a whole number is wanted")
		return 0
	}
	return n
}

func (p *tagParser) text(key string) string {
	s, err := unescape(p.tags[key])
	if err != nil {
		p.fail(key, err.Error())
	}
	return s
}

func (p *tagParser) oneOf(key string, allowed ...string) {
	for _, a := range allowed {
		if p.tags[key] == a {
			return
		}
	}
	p.fail(key, "one of "+strings.Join(allowed, ", ")+" is wanted")
}

// plainTagChars stand for themselves in an escaped value.
const plainTagChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-/"

// escape writes any bytes with the characters that LVM allows in a tag
// (lvm(8), "TAGS"): what is not plain becomes "=" and two hex digits.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if strings.IndexByte(plainTagChars, s[i]) >= 0 {
			b.WriteByte(s[i])
		} else {
			b.WriteByte('=')
			b.WriteString(hex.EncodeToString([]byte{s[i]}))
		}
	}
	return b.String()
}

// unescape undoes escape and takes nothing that escape does not write.
func unescape(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '=' {
			b.WriteByte(s[i])
			continue
		}
		if i+3 > len(s) {
			return "", errors.New("ends within an escape")
		}
		c, err := hex.DecodeString(s[i+1 : i+3])
		if err != nil {
			return "", fmt.Errorf("escape %q: %w", s[i:i+3], err)
		}
		b.Write(c)
		i += 2
	}
	if escape(b.String()) != s {
		return "", errors.New("not as lvme writes it")
	}
	return b.String(), nil
}

// vgRecord is what the tags of a VG say.
type vgRecord struct {
	store                string
	class                string
	number               int
	layout               string
	thin, thick, reserve int // shares in per cent
	stripe, chunk        int64
	clean                bool
}

func (r vgRecord) tags() []string {
	return []string{
		tag(tagStore, r.store), tag(tagClass, r.class), tag(tagNumber, strconv.Itoa(r.number)), tag(tagLayout, r.layout),
		tag(tagThin, strconv.Itoa(r.thin)), tag(tagThick, strconv.Itoa(r.thick)), tag(tagReserve, strconv.Itoa(r.reserve)),
		tag(tagStripe, strconv.FormatInt(r.stripe, 10)), tag(tagChunk, strconv.FormatInt(r.chunk, 10)),
	}
}

var cleanTag = tag(tagClean, "yes")

// storeOf is the store key in a VG's tags, "" for a VG that is not lvme's.
func storeOf(tags []string) string {
	m, _ := tagMap(tags)
	return m[tagStore]
}

func parseVGRecord(tags []string) (vgRecord, error) {
	m, err := tagMap(tags)
	if err != nil {
		return vgRecord{}, err
	}
	p := tagParser{tags: m}
	r := vgRecord{
		store: m[tagStore], class: m[tagClass], number: int(p.number(tagNumber)), layout: m[tagLayout],
		thin: int(p.number(tagThin)), thick: int(p.number(tagThick)), reserve: int(p.number(tagReserve)), stripe: p.number(tagStripe), chunk: p.number(tagChunk),
		clean: m[tagClean] == "yes",
	}
	return r, p.err
}
