package body

const (
	ReplayWait = replayWait
	PeekLimit  = peekLimit
)

var (
	ErrClosed   = errBodyClosed
	ErrStopped  = errBodyStopped
	ErrPeekOver = errPeekOver
)

// Held returns the sizes of the pieces of memory that b holds.
func Held(b *Replayable) []int {
	var sizes []int
	for _, piece := range b.kept {
		sizes = append(sizes, cap(piece))
	}
	if len(b.kept) != 1 && b.place[0] != nil { // else it is that one piece
		sizes = append(sizes, cap(b.place[0]))
	}
	return sizes
}
