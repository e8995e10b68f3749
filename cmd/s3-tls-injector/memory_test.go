package main

import "testing"

func TestPercentFor(t *testing.T) {
	for inUse, want := range map[uint64]int{0: 50, 1 << 20: 400, 3 << 20: 400, 6 << 20: 200, 12 << 20: 100, 24 << 20: 50, 1 << 40: 50, 1 << 63: 50} {
		if got := percentFor(inUse); got != want {
			t.Errorf("%d bytes in use: %d, want %d", inUse, got, want)
		}
	}
}

// The collector says what it left in use.
func TestInUse(t *testing.T) {
	if inUse() == 0 {
		t.Error("nothing is in use")
	}
}
