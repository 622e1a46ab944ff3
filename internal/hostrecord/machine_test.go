package hostrecord

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReadMachine(t *testing.T) {
	const id, product = "0123456789abcdef0123456789abcdef", "4C4C4544-0033-4A10-8044-B7C04F4E3132"
	for _, tc := range []struct {
		name, id, product string
		want              Machine
		fails             bool
	}{
		{"both", id + "\n", product + "\n", Machine{ID: id, Product: "4c4c4544-0033-4a10-8044-b7c04f4e3132"}, false},
		{"no DMI", id, "", Machine{ID: id}, false},
		{"DMI of a careless vendor", id, "03000200-0400-0500-0006-000700080009", Machine{ID: id}, false},
		{"image before its first start", "uninitialized\n", product, Machine{Product: "4c4c4544-0033-4a10-8044-b7c04f4e3132"}, false},
		{"nothing", "\n", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", Machine{}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := t.TempDir()
			write := func(path, text string) {
				if text == "" {
					return
				}
				path = filepath.Join(root, path)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write("etc/machine-id", tc.id)
			write("sys/class/dmi/id/product_uuid", tc.product)
			got, err := ReadMachine(root)
			if (err != nil) != tc.fails || got != tc.want {
				t.Errorf("got %+v, %v, want %+v, failure %t", got, err, tc.want, tc.fails)
			}
		})
	}
}
