package volume

import (
	"strings"
	"testing"
)

func TestFieldErrorTellsWhatIsAllowed(t *testing.T) {
	err := Invalid("name", strings.Repeat("x", 1<<20), "at most 128 bytes")
	if text := err.Error(); len(text) > 300 || !strings.HasPrefix(text, `name: "xxx`) || !strings.HasSuffix(text, "at most 128 bytes") {
		t.Errorf("%d bytes: %.200s", len(text), text)
	}
}
