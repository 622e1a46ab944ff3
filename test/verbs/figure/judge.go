package figure

import (
	"errors"
	"fmt"
)

// The limits.
const (
	maxRatio       = 1.15 // CreateVolume and CreateSnapshot by bare
	maxRatioAtOnce = 1.1  // of crowdAtOnce calls or more
	crowdAtOnce    = 100
	maxStart       = 3 // by one report, of startVolumes or more: with few, any program's start takes longer
	startVolumes   = 5000
	maxResidentKiB = 60 << 10
)

// judged are the verbs with a limit.
var judged = []string{"CreateVolume", "CreateSnapshot"}

// Judge says which limits are broken, and what should have been measured and was
// not.
func (r Report) Judge() error {
	var broken []error
	for _, n := range r.Nodes {
		for _, s := range n.Sizes {
			for _, err := range s.judge() {
				broken = append(broken, fmt.Errorf("%d volumes in %s: %w", s.Volumes, groups(n.Groups), err))
			}
		}
	}
	if len(r.Nodes) == 0 {
		broken = append(broken, errors.New("nothing was measured"))
	}
	return errors.Join(broken...)
}

func (s Size) judge() (broken []error) {
	fail := func(format string, args ...any) { broken = append(broken, fmt.Errorf(format, args...)) }
	for _, name := range judged {
		lvme, bare := s.verb(name).Side(Lvme).Times, s.verb(name).Side(Bare).Times
		switch ratio := lvme.Ratio(bare); {
		case len(lvme) == 0 || len(bare) == 0:
			fail("%s was not measured", name)
		case ratio > maxRatio:
			fail("%s takes %.2f times as long as bare, more than %.2f", name, ratio, maxRatio)
		}
	}
	for _, a := range s.AtOnce {
		if a.Failed > 0 {
			fail("%d of %d creations at once failed", a.Failed, a.Calls)
		}
		if ratio := a.Lvme.Ratio(a.Bare); a.Calls >= crowdAtOnce && (ratio == 0 || ratio > maxRatioAtOnce) {
			fail("%d creations at once take %.2f times as long as bare, more than %.2f", a.Calls, ratio, maxRatioAtOnce)
		}
	}
	if ratio := s.Start.Times.Ratio(s.Start.Report); ratio == 0 || s.Volumes >= startVolumes && ratio > maxStart {
		fail("the agent's start takes %.2f times as long as a report, more than %d", ratio, maxStart)
	}
	if most := max(s.Rest.StartKiB, s.Rest.ResidentKiB); most == 0 || most > maxResidentKiB {
		fail("the agent has %d KiB resident, more than %d", most, maxResidentKiB)
	}
	return broken
}

func (s Size) verb(name string) Verb {
	for _, v := range s.Verbs {
		if v.Name == name {
			return v
		}
	}
	return Verb{Name: name}
}

// groups is how many volume groups, in words.
func groups(n int) string {
	if n == 1 {
		return "one volume group"
	}
	return fmt.Sprintf("%d volume groups", n)
}
