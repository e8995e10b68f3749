package main

import "testing"

func TestPercentFor(t *testing.T) {
	for inUse, want := range map[uint64]int{0: 75, 1 << 20: 400, 4 << 20: 400, 8 << 20: 200, 16 << 20: 100, 24 << 20: 75, 1 << 40: 75, 1 << 63: 75} {
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
