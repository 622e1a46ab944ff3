package walk

import (
	"fmt"
	"strings"
)

// Block is a piece of a document that is run.
type Block struct {
	// Line is where it begins in the document, from 1, and Section the heading above it.
	Line    int
	Section string
	// Script is what is typed.
	Script string
	// Want is what must be printed. Without Shown nothing is said of that.
	Want  string
	Shown bool
}

const fence = "```"

// Parse finds the blocks of a document.
func Parse(document string) ([]Block, error) {
	p := parser{}
	for i, line := range strings.Split(document, "\n") {
		p.line(i+1, line)
	}
	if p.inside {
		return nil, fmt.Errorf("the block that begins in line %d has no end", p.began)
	}
	return p.blocks, p.err
}

// parser goes through a document.
type parser struct {
	blocks  []Block
	section string
	err     error

	inside   bool // of a fenced block
	language string
	began    int
	body     []string

	answers bool // the next block may be what the last one prints
}

func (p *parser) line(number int, line string) {
	opens := strings.HasPrefix(line, fence)
	switch {
	case p.inside && opens:
		p.inside = false
		p.block(strings.Join(p.body, "\n"))
	case p.inside:
		p.body = append(p.body, line)
	case opens:
		p.inside, p.language, p.began, p.body = true, strings.TrimSpace(line[len(fence):]), number, nil
	case strings.HasPrefix(line, "#"):
		p.section, p.answers = strings.TrimSpace(strings.TrimLeft(line, "#")), false
	case strings.TrimSpace(line) != "":
		p.answers = false
	}
}

// block takes note of a block that has ended.
func (p *parser) block(body string) {
	switch p.language {
	case "sh":
		p.blocks = append(p.blocks, Block{Line: p.began + 1, Section: p.section, Script: body})
		p.answers = true
		return
	case "text":
		if p.answers {
			last := &p.blocks[len(p.blocks)-1]
			last.Want, last.Shown = body, true
		} else if p.err == nil {
			p.err = fmt.Errorf("the text in line %d follows no commands", p.began)
		}
	}
	p.answers = false
}
