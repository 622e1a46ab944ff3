package lvm

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"
)

// row is one line of a section by field.
type row map[string]value

// fieldNames are the fields that are asked for, each name once in memory: a report
// has them again and again.
var fieldNames = func() map[string]string {
	names := map[string]string{}
	for _, section := range []string{vgFields, pvFields, pvsegFields, lvFields, segFields} {
		for name := range strings.SplitSeq(section, ",") {
			names[name] = name
		}
	}
	return names
}()

// UnmarshalJSON reads a row. Where all that it holds are plain strings, as in LVM's
// format "json", it takes them as they stand.
func (r *row) UnmarshalJSON(data []byte) error {
	if *r == nil {
		*r = row{}
	}
	if r.takePlain(data) {
		return nil
	}
	clear(*r)
	return json.Unmarshal(data, (*map[string]value)(r))
}

// takePlain reads a row of plain strings; false means that it is another one. That
// it is an object in JSON is known.
func (r *row) takePlain(data []byte) bool {
	rest := bytes.TrimLeft(data, "{ \t\r\n")
	for len(rest) > 0 && rest[0] != '}' {
		key, after, ok := cutPlain(rest)
		if !ok {
			return false
		}
		text, after, ok := cutPlain(bytes.TrimLeft(after, ": \t\r\n"))
		if !ok {
			return false
		}
		name, known := fieldNames[string(key)]
		if !known {
			name = string(key)
		}
		(*r)[name] = value(text)
		rest = bytes.TrimLeft(after, ", \t\r\n")
	}
	return true
}

// cutPlain takes a string of plain characters from the beginning of what is there.
func cutPlain(data []byte) (text, rest []byte, ok bool) {
	if len(data) == 0 || data[0] != '"' {
		return nil, nil, false
	}
	end := bytes.IndexByte(data[1:], '"') + 1
	text, rest = data[1:end], data[end+1:]
	return text, rest, plain(text)
}

// plain says that a JSON string of these bytes stands for them as they are, which
// is true of nearly all that LVM writes.
func plain(inner []byte) bool {
	return !slices.ContainsFunc(inner, func(b byte) bool { return b == '\\' || b >= utf8.RuneSelf })
}
