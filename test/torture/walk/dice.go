package walk

import "math/rand/v2"

// Dice choose. The same dice choose the same.
type Dice interface {
	// IntN is a number from 0 to n-1.
	IntN(n int) int
	// Worn says that they choose no more.
	Worn() bool
}

// Seeded are dice that never wear out.
func Seeded(seed uint64) Dice { return seeded{rand.New(rand.NewPCG(seed, 0))} }

type seeded struct{ *rand.Rand }

// Worn implements Dice.
func (seeded) Worn() bool { return false }

// Bytes are dice whose choices a fuzzer makes, a byte each. When they are used
// up they are worn and always choose 0.
func Bytes(b []byte) Dice { return &script{left: b} }

type script struct{ left []byte }

// IntN implements Dice.
func (s *script) IntN(n int) int {
	if len(s.left) == 0 || n <= 1 {
		return 0
	}
	v := int(s.left[0])
	s.left = s.left[1:]
	return v % n
}

// Worn implements Dice.
func (s *script) Worn() bool { return len(s.left) == 0 }

// one picks one of several, which there must be.
func one[T any](d Dice, of []T) T { return of[d.IntN(len(of))] }
