package driver

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/lvme/lvme/volume"
)

// An agent tells its router how its storage is by CSI's NodeGetStorageHealth. Its
// answer differs from what the same call tells a kubelet: each pool is a storage of
// its own, so that who reads it knows which volumes are concerned, and early
// warnings are told too. CSI has one entry for each status and reason; its message
// has a line for each pool, "VG: what is wrong and the next step".

const (
	// maxAilments bounds what is believed of one node: its pools, and what can be
	// wrong with one.
	maxAilments = 256
	// maxAilment bounds a line, in bytes: it is shown to people, beside others.
	maxAilment = 400
)

// storageStatus is the status of an ailment. An early warning is known by its
// reason.
var storageStatus = map[volume.Effect]csi.StorageHealthErrorType{
	volume.Early:        csi.StorageHealthErrorType_STORAGE_DEGRADED,
	volume.Degraded:     csi.StorageHealthErrorType_STORAGE_DEGRADED,
	volume.Inaccessible: csi.StorageHealthErrorType_STORAGE_UNREACHABLE,
}

// StorageHealth is an agent's answer to its router.
func StorageHealth(all []volume.PoolHealth) *csi.NodeGetStorageHealthResponse {
	type kind struct {
		status csi.StorageHealthErrorType
		reason volume.Reason
	}
	lines := map[kind][]string{}
	for _, h := range all {
		k := kind{storageStatus[h.Ailment.Effect], h.Ailment.Reason}
		text := h.Ailment.Message
		if h.Drives != "" && !strings.Contains(text, h.Drives) {
			text += " (on " + h.Drives + ")"
		}
		lines[k] = append(lines[k], h.VG+": "+oneLine(text))
	}
	resp := new(csi.NodeGetStorageHealthResponse)
	for k, text := range lines {
		resp.BackendHealth = append(resp.BackendHealth, &csi.NodeGetStorageHealthResponse_StorageBackendHealth{
			Status: k.status, Reason: string(k.reason), Message: strings.Join(text, "\n"),
		})
	}
	slices.SortFunc(resp.GetBackendHealth(), func(a, b *csi.NodeGetStorageHealthResponse_StorageBackendHealth) int {
		return cmp.Or(cmp.Compare(b.GetStatus(), a.GetStatus()), cmp.Compare(a.GetReason(), b.GetReason()))
	})
	return resp
}

// reasonForm is that of a word in CamelCase.
var reasonForm = regexp.MustCompile(`^[A-Z][A-Za-z]{1,62}$`)

// PoolsHealth reads an agent's answer, or what somebody says who took an agent
// over: what is not of the form above is left out, and what is too long is cut.
func PoolsHealth(resp *csi.NodeGetStorageHealthResponse) (all []volume.PoolHealth) {
	for _, b := range resp.GetBackendHealth() {
		a := volume.Ailment{Effect: volume.Degraded, Reason: volume.Reason(b.GetReason())}
		switch {
		case !reasonForm.MatchString(b.GetReason()):
			continue
		case b.GetStatus() == csi.StorageHealthErrorType_STORAGE_UNREACHABLE:
			a.Effect = volume.Inaccessible
		case a.Reason.IsEarly():
			a.Effect = volume.Early
		}
		for line := range strings.SplitSeq(b.GetMessage(), "\n") {
			vg, text, ok := strings.Cut(line, ": ")
			if !ok || volume.PoolID(vg) == "" || len(all) == maxAilments {
				continue
			}
			a.Message = oneLine(text)
			all = append(all, volume.PoolHealth{VG: vg, Ailment: a})
		}
	}
	return all
}

// oneLine is a text that fits into a line, without what a terminal would obey.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	return Shorten(strings.TrimSpace(text), maxAilment)
}

// Shorten is the text, cut to at most that many bytes with a mark if it is longer.
func Shorten(text string, limit int) string {
	const mark = "…"
	if len(text) <= limit {
		return text
	}
	end := limit - len(mark)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + mark
}
