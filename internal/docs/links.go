package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"
)

var (
	fenceRE   = regexp.MustCompile("(?ms)^```.*?^```")
	linkRE    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	headingRE = regexp.MustCompile(`(?m)^#{1,6} +(.+?)[ #]*$`)
	namedRE   = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`) // a link within a heading
)

// brokenLinks returns the links of a Markdown file that lead to a file or a heading
// that does not exist. Links to other sites are not followed.
func brokenLinks(file string) (broken []string, err error) {
	text, err := markdownOf(file)
	if err != nil {
		return nil, err
	}
	for _, m := range linkRE.FindAllStringSubmatch(text, -1) {
		if strings.Contains(m[1], ":") {
			continue
		}
		path, anchor, _ := strings.Cut(m[1], "#")
		target := file
		if path != "" {
			target = filepath.Join(filepath.Dir(file), path)
		}
		info, err := os.Stat(target)
		if err != nil {
			broken = append(broken, fmt.Sprintf("%s: there is no file %s", file, m[1]))
			continue
		}
		if anchor == "" {
			continue
		}
		if info.IsDir() {
			target = filepath.Join(target, "README.md")
		}
		headings, err := markdownOf(target)
		if err != nil {
			return nil, err
		}
		if !anchors(headings)[anchor] {
			broken = append(broken, fmt.Sprintf("%s: there is no heading %s", file, m[1]))
		}
	}
	return broken, nil
}

// markdownOf returns the text of a file without its blocks of code.
func markdownOf(file string) (string, error) {
	text, err := os.ReadFile(file)
	return fenceRE.ReplaceAllString(string(text), ""), err
}

// anchors returns the anchors that GitHub gives to the headings of text.
func anchors(text string) map[string]bool {
	found := make(map[string]bool)
	for _, m := range headingRE.FindAllStringSubmatch(text, -1) {
		slug := strings.Map(func(r rune) rune {
			switch {
			case unicode.IsLetter(r), unicode.IsNumber(r), r == '-', r == '_':
				return unicode.ToLower(r)
			case r == ' ':
				return '-'
			}
			return -1
		}, namedRE.ReplaceAllString(m[1], "$1"))
		anchor := slug
		for n := 1; found[anchor]; n++ {
			anchor = fmt.Sprintf("%s-%d", slug, n)
		}
		found[anchor] = true
	}
	return found
}
