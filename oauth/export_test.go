package oauth

// Discoveries returns how many Refreshers have discovered endpoints.
func Discoveries() (n int) {
	discoveries.Range(func(any, any) bool { n++; return true })
	return n
}
